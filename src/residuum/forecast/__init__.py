"""What a run will cost, before it begins; not a net's plan, which is models/plan.py."""

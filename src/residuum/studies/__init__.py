"""Every claim as a study: a question, nets, a measurement, a verdict by a rule that stood before the measurement."""

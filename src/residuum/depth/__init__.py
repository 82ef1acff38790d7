"""Depth as a dial: blocks put into a trained net, measured one by one, and taken out again."""

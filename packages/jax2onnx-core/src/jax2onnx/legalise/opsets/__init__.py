"""Opsets: write a model, whose rules emit the operators of one opset, in the operators of an older one."""

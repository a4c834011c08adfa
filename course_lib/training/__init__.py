"""Mixing and fine-tuning."""

"""Measurements that take minutes and compare this course's tools with what people use instead."""

"""Loops in C for the processor that a program runs on."""

"""Meanings and decisions: pure, without clock, log or I/O."""

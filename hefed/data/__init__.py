"""A region's own table: reading it, checking it, committing to it. What is read here never leaves the region as it is.

Errors name regions, files, columns, lines and counts, and never a value. pandas is imported where a file is read.
"""

"""What people and machines read at the end: documents, tables, comparisons. Takes plain values; knows no encryption."""

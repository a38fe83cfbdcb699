"""The processes: a region's node, the aggregator, the analyst; ZeroMQ between them, SQLite below them."""

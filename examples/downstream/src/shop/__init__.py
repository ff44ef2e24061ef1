"""A small shop: orders, payments, receipts, and a nightly report."""

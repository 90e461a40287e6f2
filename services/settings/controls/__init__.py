"""Data controls: what a customer's admins decide about its data, and who hears of it."""

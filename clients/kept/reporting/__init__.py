"""Reports to forward: one HTML file each, with its plots in it; it loads nothing from anywhere, and prints well."""

"""Grafana dashboards, made by a program: `python -m deploy.dashboards` writes deploy/components/monitoring/dashboards/*.json."""

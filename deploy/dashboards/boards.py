"""What is shown: the promises, and the calls."""

from typing import Final

from deploy.dashboards.panels import Dashboard, Panel

PROMISES: Final = Dashboard(
    "kept-promises",
    "Kept: promises",
    (
        Panel(
            "Oldest record that nothing holds",
            "Age of the oldest day with records without a hold: it falls by a day each night; above the longest term, something is late.",
            "s",
            {"age": "time() - max(kept_oldest_unheld_record_timestamp_seconds > 0)"},
        ),
        Panel(
            "Lease lag",
            "Since the poll that brought the newest lease. Above two seconds the lease has run out, and what needs it is refused.",
            "s",
            {"{{job}} {{feed}}": "max by (job, feed) (time() - kept_lease_timestamp_seconds)"},
            bad_from=2,
        ),
        Panel(
            "Screening backlog",
            "Records that wait to be screened. It comes and goes with traffic; it must not grow for an hour.",
            "short",
            {"records": "max(kept_screening_backlog_records)"},
        ),
        Panel(
            "Longest wait for screening",
            "After 72 hours a record cannot be opened for screening any more, and is left to a person.",
            "s",
            {"wait": "time() - max(kept_screening_oldest_waiting_timestamp_seconds > 0)"},
            bad_from=3600,
        ),
        Panel(
            "Grants open",
            "Grants that open records, and powers, that are good now. At night there should be few.",
            "short",
            {"{{scope}}": "max by (scope) (kept_open_grants)"},
        ),
        Panel(
            "Audit head age",
            "Since the newest head was signed: at most ten minutes where nothing happens, seconds where something does.",
            "s",
            {"age": "time() - max(kept_audit_head_timestamp_seconds)"},
            bad_from=1200,
        ),
        Panel(
            "Keys by kind",
            "Keys that open something. Epochs fall by a day's each night; one root lives.",
            "short",
            {"{{kind}}": 'max by (kind) (kept_custody_keys{state="living"})'},
        ),
        Panel(
            "Keys destroyed",
            "Keys of which a tombstone is left. It only grows.",
            "short",
            {"{{kind}}": 'max by (kind) (kept_custody_keys{state="destroyed"})'},
        ),
        Panel(
            "Records that exist for holds alone",
            "They are past their term, and go when the last hold on them ends.",
            "short",
            {"records": "max(kept_held_records)"},
        ),
        Panel(
            "Alerts of the services themselves",
            "1 while something needs a person: docs/runbooks.",
            "short",
            {"{{alert}}": "max by (alert) (kept_alert_active)"},
            bad_from=1,
        ),
        Panel(
            "Requests of data subjects",
            "Without an answer, and of these past their deadline.",
            "short",
            {
                "unanswered: {{kind}}": "max by (kind) (kept_subject_requests_unanswered)",
                "late: {{kind}}": "max by (kind) (kept_subject_requests_late)",
            },
        ),
        Panel(
            "Oldest message in an outbox",
            "Audit entries and notifications that are not delivered yet.",
            "s",
            {
                "{{job}} {{kind}}": "time() - max by (job, kind) (kept_outbox_oldest_message_timestamp_seconds > 0)"
            },
            bad_from=600,
        ),
    ),
)
CALLS: Final = Dashboard(
    "kept-calls",
    "Kept: calls",
    (
        Panel(
            "Calls",
            "Calls a second that ended, by service.",
            "reqps",
            {"{{job}}": "sum by (job) (rate(kept_rpc_duration_seconds_count[5m]))"},
        ),
        Panel(
            "Time, of the slowest hundredth",
            "The 99th percentile of a call's time, by method.",
            "s",
            {
                "{{method}}": "histogram_quantile(0.99, sum by (method, le) (rate(kept_rpc_duration_seconds_bucket[5m])))"
            },
        ),
        Panel(
            "Refusals",
            "Calls a second that failed for a declared reason.",
            "reqps",
            {"{{reason}}": "sum by (reason) (rate(kept_rpc_refused_total[5m]))"},
        ),
        Panel(
            "Unforeseen failures",
            "Calls that failed as INTERNAL in the hour before, by service. None is normal.",
            "short",
            {"{{job}}": "sum by (job) (increase(kept_rpc_internal_errors_total[1h]))"},
        ),
        Panel(
            "Calls in progress",
            "By service and kind.",
            "short",
            {"{{job}} {{kind}}": "sum by (job, kind) (kept_rpc_active_calls)"},
        ),
        Panel(
            "Not well",
            "Replicas of which a part is not well, by part.",
            "short",
            {"{{job}} {{part}}": "count by (job, part) (kept_health_serving == 0)"},
            bad_from=1,
        ),
        Panel(
            "Jobs that fail",
            "Replicas whose last step of a job failed.",
            "short",
            {"{{job}} {{exported_job}}": "sum by (job, exported_job) (kept_job_failing)"},
            bad_from=1,
        ),
        Panel(
            "Certificates end in",
            "They last a day and are renewed after eight hours.",
            "s",
            {"{{job}}": "min by (job) (kept_certificate_expiry_timestamp_seconds - time())"},
        ),
        Panel(
            "Records screened",
            "A second, by verdict.",
            "reqps",
            {"{{verdict}}": "sum by (verdict) (rate(kept_screened_total[5m]))"},
        ),
        Panel(
            "Notifications",
            "Tries a second to tell a receiver, by how they ended.",
            "reqps",
            {
                "{{exported_endpoint}} {{outcome}}": "sum by (exported_endpoint, outcome) (rate(kept_webhook_tries_total[5m]))"
            },
        ),
    ),
)
DASHBOARDS: Final = (PROMISES, CALLS)

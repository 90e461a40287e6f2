"""Each rule of `make deploy-check` finds the manifest that breaks it, and names file and field."""

from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Gauge

from deploy.check import documented, measured, network, schemas
from deploy.check.__main__ import RULES, check
from deploy.check.findings import ROOT, Finding
from deploy.check.kustomize.build import Read
from deploy.check.overlay import OVERLAYS, Overlay

BASE, COMPONENTS, OVERLAY = "deploy/base", "deploy/components", "deploy/overlays"
WORKLOAD, SETTINGS, LOGGING = f"{BASE}/workload.yaml", f"{BASE}/settings.yaml", f"{BASE}/logging.yaml"
CONFIG = f"{BASE}/config"
POLICIES, IDENTITIES = f"{COMPONENTS}/network-policies", f"{COMPONENTS}/cert-manager/identities.yaml"
ALERTS = f"{COMPONENTS}/monitoring/alerts.yaml"
PRODUCTION = f"{OVERLAY}/production"


def edited(file: str, old: str, new: str) -> Read:
    """Reads manifests as they are, but for one place of one file."""
    target = ROOT / file

    def read(path: Path) -> str:
        text = path.read_text()
        if path != target:
            return text
        assert old in text, f"{file} has no {old!r} to break"
        return text.replace(old, new)

    return read


def added(read: Read, changes: dict[str, str], files: dict[str, str]) -> Read:
    """Reads on top of `read`: texts put at the ends of files, and files that are not there."""
    at_end = {ROOT / file: text for file, text in changes.items()}
    new = {ROOT / file: text for file, text in files.items()}
    return lambda path: new[path] if path in new else read(path) + at_end.get(path, "")


def rules(read: Read, name: str = "production") -> list[Finding]:
    """What the rules say of an overlay."""
    overlay = Overlay.rendered(name, read)
    return [finding for rule in RULES for finding in rule(overlay)] + overlay.problems


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_manifests_are_well(name: str) -> None:
    overlay, found = check(name)
    assert overlay is not None
    assert not found
    assert {"Deployment", "Job", "NetworkPolicy"} <= {resource.kind for resource in overlay.resources}


def test_metrics_say_their_unit_and_operators_are_told_of_each() -> None:
    assert "kept_lease_timestamp_seconds" in measured.exported()
    assert not list(measured.check_names())
    untold = {finding.field for finding in measured.check_names("`kept_job_failing` alone")}
    assert "kept_open_grants" in untold
    assert "kept_job_failing" not in untold


def test_the_reference_of_settings_is_what_the_services_take() -> None:
    assert not list(documented.check())
    stale = documented.documentation().replace("a number from 0 to 60", "a number from 0 to 90")
    (finding,) = documented.check(stale)
    assert finding.file == "docs/operations/configuration.md"


def test_a_metric_without_a_unit_is_found() -> None:
    measured.exported()
    gauge = Gauge("kept_lease_lag", "Of a test.")
    try:
        (finding,) = measured.check_names("`kept_lease_lag`" + measured.documentation())
    finally:
        REGISTRY.unregister(gauge)
    assert (finding.field, finding.text) == ("kept_lease_lag", "does not say its unit")


# (file, what stands there, what breaks it, the finding's file, a part of its field, a part of its text)
Case = tuple[str, str, str, str, str, str]
HARDENING: list[Case] = [
    (
        WORKLOAD,
        "runAsGroup: 65532",
        "runAsGroup: 0",
        SETTINGS,
        "securityContext.runAsGroup",
        "the image's group",
    ),
    (
        WORKLOAD,
        "      securityContext:\n        runAsNonRoot",
        "      shareProcessNamespace: true\n      securityContext:\n        runAsNonRoot",
        SETTINGS,
        "spec.shareProcessNamespace",
        "nothing of the machine's is shared",
    ),
    (
        WORKLOAD,
        "            allowPrivilegeEscalation: false\n",
        "            allowPrivilegeEscalation: false\n            runAsUser: 0\n",
        SETTINGS,
        "containers[service].securityContext",
        "the rest is the pod's",
    ),
    (
        WORKLOAD,
        "              containerPort: 8443\n",
        "              containerPort: 8443\n              hostPort: 8443\n",
        SETTINGS,
        "ports[grpc-services].hostPort",
        "has to be left out",
    ),
    (
        WORKLOAD,
        "            medium: Memory\n",
        "",
        SETTINGS,
        "volumes[tmp].emptyDir.medium",
        "has to be Memory",
    ),
    (
        LOGGING,
        "        - name: config\n          configMap:\n            name: logging-config\n",
        "        - name: config\n          persistentVolumeClaim:\n            claimName: logging\n",
        LOGGING,
        "volumes[config]",
        "only the volume key-store may",
    ),
    (
        LOGGING,
        "  clusterIP: None\n",
        "  clusterIP: None\n  publishNotReadyAddresses: true\n",
        LOGGING,
        "spec.publishNotReadyAddresses",
        "what is not ready is not called",
    ),
    (
        LOGGING,
        "  unhealthyPodEvictionPolicy: AlwaysAllow\n",
        "",
        LOGGING,
        "spec.unhealthyPodEvictionPolicy",
        "has to be AlwaysAllow",
    ),
    (
        LOGGING,
        "nodeTaintsPolicy: Honor",
        "nodeTaintsPolicy: Ignore",
        LOGGING,
        "topologySpreadConstraints[kubernetes.io/hostname].nodeTaintsPolicy",
        "has to be Honor",
    ),
    (
        WORKLOAD,
        "automountServiceAccountToken: false",
        "automountServiceAccountToken: true",
        SETTINGS,
        "spec.automountServiceAccountToken",
        "has to be false",
    ),
    (
        WORKLOAD,
        "enableServiceLinks: false",
        "enableServiceLinks: true",
        SETTINGS,
        "enableServiceLinks",
        "has to be false",
    ),
    (WORKLOAD, "runAsNonRoot: true", "runAsNonRoot: false", SETTINGS, "runAsNonRoot", "has to be true"),
    (WORKLOAD, "runAsUser: 65532", "runAsUser: 0", SETTINGS, "runAsUser", "is 0"),
    (WORKLOAD, "type: RuntimeDefault", "type: Unconfined", SETTINGS, "seccompProfile.type", "Unconfined"),
    (
        WORKLOAD,
        "    spec:\n",
        "    spec:\n      hostNetwork: true\n",
        SETTINGS,
        "hostNetwork",
        "nothing of the machine's",
    ),
    (
        WORKLOAD,
        "          emptyDir:\n            medium: Memory\n            sizeLimit: 64Mi",
        "          hostPath:\n            path: /tmp",
        SETTINGS,
        "volumes[tmp]",
        "hostPath",
    ),
    (
        WORKLOAD,
        "allowPrivilegeEscalation: false",
        "allowPrivilegeEscalation: true",
        SETTINGS,
        "containers[service].securityContext.allowPrivilegeEscalation",
        "is True",
    ),
    (
        WORKLOAD,
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        LOGGING,
        "initContainers[schema].securityContext.readOnlyRootFilesystem",
        "is False",
    ),
    (WORKLOAD, "drop: [ALL]", "drop: [NET_RAW]", SETTINGS, "capabilities.drop", "[ALL]"),
    (
        WORKLOAD,
        "drop: [ALL]",
        "drop: [ALL]\n              add: [SYS_PTRACE]",
        SETTINGS,
        "capabilities.add",
        "left out",
    ),
    (
        f"{BASE}/migrations/job.yaml",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        f"{BASE}/migrations/settings.yaml",
        "containers[migrate]",
        "is False",
    ),
    (
        SETTINGS,
        "            limits:\n              memory: 1Gi\n",
        "",
        SETTINGS,
        "containers[service].resources.limits.memory",
        "set",
    ),
    (SETTINGS, "              cpu: 100m\n", "", SETTINGS, "resources.requests.cpu", "set"),
    (
        WORKLOAD,
        "              service: liveness\n            periodSeconds: 10",
        "            periodSeconds: 10",
        SETTINGS,
        "livenessProbe.grpc.service",
        "liveness",
    ),
    (
        WORKLOAD,
        "          readinessProbe:\n            grpc:\n              port: 8081\n",
        "          readinessProbe:\n            httpGet:\n              port: 8081\n",
        SETTINGS,
        "readinessProbe.grpc.port",
        "health port",
    ),
    (
        WORKLOAD,
        "                seconds: 5\n",
        "                seconds: 1\n",
        SETTINGS,
        "preStop.sleep.seconds",
        "endpoints go first",
    ),
    (
        WORKLOAD,
        "terminationGracePeriodSeconds: 60",
        "terminationGracePeriodSeconds: 40",
        SETTINGS,
        "terminationGracePeriodSeconds",
        "is 40; preStop",
    ),
    (
        f"{CONFIG}/logging.toml",
        "grace_seconds = 25",
        "grace_seconds = 100",
        LOGGING,
        "terminationGracePeriodSeconds",
        "take 120",
    ),
    (WORKLOAD, "maxUnavailable: 0", "maxUnavailable: 1", SETTINGS, "maxUnavailable", "has to be 0"),
    (
        SETTINGS,
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        SETTINGS,
        "topologySpreadConstraints",
        "zone",
    ),
    (SETTINGS, "replicas: 2", "replicas: 1", SETTINGS, "spec.replicas", "is 1"),
    (
        f"{COMPONENTS}/autoscaling/logging.yaml",
        "minReplicas: 3",
        "minReplicas: 1",
        LOGGING,
        "spec.replicas",
        "is 1",
    ),
    (
        f"{COMPONENTS}/autoscaling/logging.yaml",
        "maxReplicas: 20",
        "maxReplicas: 40",
        f"{COMPONENTS}/cloudnative-pg/logging.yaml",
        "max_connections",
        "40 replicas",
    ),
    (
        SETTINGS,
        "  maxUnavailable: 1\n",
        "  maxUnavailable: 2\n",
        SETTINGS,
        "PodDisruptionBudget",
        "maxUnavailable: 1",
    ),
    (SETTINGS, ', --await-schema, "600"]', "]", SETTINGS, "initContainers.0.command", "waits for the schema"),
    (
        SETTINGS,
        "            defaultMode: 288\n        - name: mail",
        "            defaultMode: 292\n        - name: mail",
        SETTINGS,
        "volumes[token-keys].secret.defaultMode",
        "everybody",
    ),
    (
        LOGGING,
        "          envFrom: *configured\n",
        "          envFrom:\n            - secretRef:\n                name: logging-db-app\n",
        LOGGING,
        "containers[service].envFrom.0",
        "files only",
    ),
    (
        SETTINGS,
        "          envFrom: *configured\n",
        "          envFrom: *configured\n          env:\n            - {name: X, valueFrom: {secretKeyRef: {name: a, key: b}}}\n",
        SETTINGS,
        "env[X]",
        "files only",
    ),
    (
        f"{PRODUCTION}/kustomization.yaml",
        "digest: sha256:" + "0" * 64,
        "newTag: latest",
        SETTINGS,
        "image",
        "is no digest",
    ),
    (
        f"{BASE}/namespace.yaml",
        "enforce: restricted",
        "enforce: baseline",
        f"{BASE}/namespace.yaml",
        "enforce",
        "restricted",
    ),
    (f"{BASE}/settings.yaml", "clusterIP: None", "clusterIP: 10.0.0.1", SETTINGS, "spec.clusterIP", "None"),
    (
        f"{BASE}/settings.yaml",
        "  name: settings\nautomountServiceAccountToken: false",
        "  name: settings\nautomountServiceAccountToken: true",
        SETTINGS,
        "ServiceAccount settings",
        "has to be false",
    ),
    (
        f"{BASE}/namespace.yaml",
        "apiVersion: v1",
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: nightly\n---\napiVersion: v1",
        f"{BASE}/namespace.yaml",
        "CronJob nightly",
        "no CronJob",
    ),
    (
        f"{BASE}/namespace.yaml",
        "apiVersion: v1",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: pin\n---\napiVersion: v1",
        f"{BASE}/namespace.yaml",
        "Secret pin",
        "no secret stands",
    ),
]
BACKUPS: list[Case] = [
    (
        f"{COMPONENTS}/backups/schedules.yaml",
        "  target: primary\n",
        "",
        f"{COMPONENTS}/backups/schedules.yaml",
        "ScheduledBackup access-control-db spec.target",
        "has to be primary",
    ),
    (
        f"{COMPONENTS}/backups/schedules.yaml",
        "  cluster:\n    name: retention-db",
        "  cluster:\n    name: settings-db",
        f"{COMPONENTS}/backups",
        "",
        "no ScheduledBackup is of retention-db",
    ),
    (
        f"{COMPONENTS}/backups/archiving.yaml",
        "isWALArchiver: true",
        "isWALArchiver: false",
        f"{COMPONENTS}/cloudnative-pg",
        "spec.plugins",
        "one plugin has to archive the WAL",
    ),
    (
        f"{COMPONENTS}/backups/kustomization.yaml",
        "value: logging-backups",
        "value: elsewhere",
        f"{COMPONENTS}/cloudnative-pg/logging.yaml",
        "spec.plugins.0.parameters",
        "there is no ObjectStore 'elsewhere'",
    ),
    (
        f"{COMPONENTS}/backups/object-stores.yaml",
        "  retentionPolicy: 7d\n",
        "",
        f"{COMPONENTS}/backups/object-stores.yaml",
        "ObjectStore logging-backups spec.retentionPolicy",
        "for ever is longer",
    ),
]

DATABASES: list[Case] = [
    (
        f"{COMPONENTS}/cloudnative-pg/cluster.yaml",
        "      log_error_verbosity: terse\n",
        "",
        f"{COMPONENTS}/cloudnative-pg/logging.yaml",
        "spec.postgresql.parameters.log_error_verbosity",
        "is None; it has to be 'terse'",
    ),
    (
        f"{COMPONENTS}/cloudnative-pg/cluster.yaml",
        "log_statement: none",
        "log_statement: all",
        f"{COMPONENTS}/cloudnative-pg/settings.yaml",
        "spec.postgresql.parameters.log_statement",
        "is 'all'; it has to be 'none'",
    ),
]

NETWORK: list[Case] = [
    (
        f"{POLICIES}/default.yaml",
        "policyTypes: [Ingress, Egress]",
        "policyTypes: [Ingress]",
        POLICIES,
        "",
        "nothing denies by default",
    ),
    # A policy that is not about what its rules say; more than one port; another protocol.
    (
        f"{POLICIES}/logging.yaml",
        "policyTypes: [Ingress, Egress]",
        "policyTypes: [Ingress]",
        POLICIES,
        "",
        "no policy for logging → settings port 8443 (Egress)",
    ),
    (
        f"{POLICIES}/logging.yaml",
        "port: 9443",
        "port: 9443\n          endPort: 9444",
        f"{POLICIES}/logging.yaml",
        "spec.ingress.1",
        "opens what no contract declares: namespace kept.dev/people → logging port 0",
    ),
    (
        f"{POLICIES}/logging.yaml",
        "protocol: TCP",
        "protocol: UDP",
        POLICIES,
        "",
        "no policy for retention → logging port 8443 (Ingress)",
    ),
    # Retention's way to logging, at logging's end and at its own.
    (
        f"{POLICIES}/logging.yaml",
        "app.kubernetes.io/name: retention",
        "app.kubernetes.io/name: settings",
        POLICIES,
        "",
        "no policy for retention → logging port 8443 (Ingress)",
    ),
    (
        f"{POLICIES}/logging.yaml",
        "app.kubernetes.io/name: retention",
        "app.kubernetes.io/name: settings",
        f"{POLICIES}/logging.yaml",
        "spec.ingress.0",
        "opens what no contract declares: settings → logging",
    ),
    (
        f"{POLICIES}/retention.yaml",
        "              app.kubernetes.io/name: safety-review\n",
        "              app.kubernetes.io/name: retention\n",
        POLICIES,
        "",
        "no policy for retention → safety_review port 8443 (Egress)",
    ),
    (
        f"{POLICIES}/access-control.yaml",
        "    - from:\n",
        "    - from:\n        - namespaceSelector: {}\n",
        f"{POLICIES}/access-control.yaml",
        "spec.ingress",
        "opens what no contract declares",
    ),
    (
        f"{POLICIES}/logging.yaml",
        'kept.dev/model-gateway: "true"',
        'kept.dev/anybody: "true"',
        POLICIES,
        "",
        "no policy for namespace kept.dev/model-gateway → logging",
    ),
    (
        f"{POLICIES}/settings.yaml",
        ", 100.64.0.0/10",
        "",
        f"{POLICIES}/settings.yaml",
        "spec.egress",
        "settings → anywhere port 443",
    ),
    (
        f"{POLICIES}/databases.yaml",
        "              app.kubernetes.io/name: settings\n",
        "              app.kubernetes.io/name: logging\n",
        f"{POLICIES}/databases.yaml",
        "spec.ingress.0",
        "logging → settings's database",
    ),
    (
        f"{POLICIES}/databases.yaml",
        "port: 9187",
        "port: 9188",
        POLICIES,
        "",
        "no policy for namespace kept.dev/monitoring → logging's database port 9187 (Ingress)",
    ),
    (
        f"{POLICIES}/settings.yaml",
        "      ports:\n        - protocol: TCP\n          port: 9443\n",
        "",
        f"{POLICIES}/settings.yaml",
        "spec.ingress",
        "people → settings port 0",
    ),
    (
        f"{CONFIG}/settings.toml",
        "[peers]",
        '[peers]\nlogging = "logging.kept.svc.cluster.local:8443"',
        f"{BASE}/settings.yaml",
        "peers.logging",
        "none that it may call",
    ),
    (
        f"{CONFIG}/logging.toml",
        'settings = "settings.kept',
        'settings = "setting.kept',
        LOGGING,
        "peers.settings",
        "it is at settings.kept.svc.cluster.local:8443",
    ),
    # Traces that are on without a way to the collector, and a way without traces.
    (
        f"{PRODUCTION}/installation/installation.env",
        "ENVIRONMENT=production",
        'ENVIRONMENT=production\nTRACES={endpoint = "https://collector.example:4317"}',
        POLICIES,
        "",
        "no policy for every service → namespace kept.dev/collector port 4317",
    ),
    (
        f"{PRODUCTION}/kustomization.yaml",
        "components:\n",
        "components:\n  - ../../components/tracing\n",
        f"{COMPONENTS}/tracing/network-policy.yaml",
        "spec.egress.0",
        "opens what no contract declares: every service",
    ),
    # The HSM's policy is for one place.
    (
        f"{COMPONENTS}/key-store-hsm/network-policy.yaml",
        "cidr: 192.0.2.0/24",
        "cidr: 0.0.0.0/0",
        f"{COMPONENTS}/key-store-hsm/network-policy.yaml",
        "spec.egress.0",
        "opens what no contract declares: access_control → anywhere port 1792",
    ),
]
PORTS: list[Case] = [
    (
        WORKLOAD,
        "containerPort: 8443",
        "containerPort: 8444",
        SETTINGS,
        "ports[grpc-services]",
        "listens on 8443",
    ),
    (
        f"{CONFIG}/settings.toml",
        "0.0.0.0:8081",
        "0.0.0.0:8082",
        SETTINGS,
        "startupProbe.grpc.port",
        "is 8081; plaintext health is on 8082",
    ),
    (
        SETTINGS,
        "      port: 9443\n",
        "      port: 443\n",
        SETTINGS,
        "spec.ports[grpc-people]",
        "listens on 9443",
    ),
    (
        SETTINGS,
        "    - name: metrics\n",
        "    - name: grpc-health\n      port: 8081\n      targetPort: grpc-health\n    - name: metrics\n",
        SETTINGS,
        "spec.ports[grpc-health]",
        "kubelet",
    ),
    (
        f"{BASE}/settings.yaml",
        "    app.kubernetes.io/component: service\n  ports:",
        "  ports:",
        SETTINGS,
        "spec.selector",
        "selects the pods of Job",
    ),
    (
        f"{COMPONENTS}/gateway/logging.yaml",
        "port: 9443",
        "port: 8443",
        f"{COMPONENTS}/gateway/logging.yaml",
        "backendRefs",
        "not a port for people",
    ),
    (
        f"{COMPONENTS}/monitoring/service-monitors.yaml",
        "- port: metrics",
        "- port: metric",
        f"{COMPONENTS}/monitoring/service-monitors.yaml",
        "endpoints.0.port",
        "has no port metric",
    ),
    (
        f"{COMPONENTS}/autoscaling/logging.yaml",
        "    name: logging\n",
        "    name: loggings\n",
        f"{COMPONENTS}/autoscaling/logging.yaml",
        "scaleTargetRef",
        "no such Deployment",
    ),
]
NAMES: list[Case] = [
    (
        f"{CONFIG}/settings.toml",
        'audience = "kept:settings"',
        'audiense = "kept:settings"',
        SETTINGS,
        "configuration",
        "audiense",
    ),
    (f"{PRODUCTION}/installation/settings.env", "MAIL=", "MAYL=", SETTINGS, "configuration", "mayl"),
    (
        f"{PRODUCTION}/installation/installation.env",
        "TRUST_DOMAIN=kept.example",
        "TRUST_DOMAIN=Kept_Example",
        SETTINGS,
        "configuration",
        "trust_domain",
    ),
    (
        f"{PRODUCTION}/installation/kustomization.yaml",
        "name: settings-installation",
        "name: setting-installation",
        f"{PRODUCTION}/installation/settings.env",
        "",
        "nobody reads it",
    ),
    (SETTINGS, "- name: config\n", "- name: konfig\n", SETTINGS, "volumeMounts", "no volume config"),
    (
        SETTINGS,
        "-m, services.settings, --config, /etc/kept/settings.toml]",
        "-m, services.logging, --config, /etc/kept/settings.toml]",
        SETTINGS,
        "containers[service].command",
        "services.settings",
    ),
    (
        SETTINGS,
        "serviceAccountName: settings",
        "serviceAccountName: setting",
        SETTINGS,
        "serviceAccountName",
        "no ServiceAccount setting",
    ),
    (
        f"{BASE}/retention.yaml",
        "secretName: retention-signing-key",
        "secretName: retention-key",
        f"{BASE}/retention.yaml",
        "volumes",
        "nothing makes the Secret retention-key",
    ),
    # Files that nothing brings: beside what is mounted, of the image that has none there, where nothing was left before the start.
    (
        f"{PRODUCTION}/installation/settings.env",
        "/run/secrets/mail/secret",
        "/run/secrets/mailer/secret",
        SETTINGS,
        "configuration mail.secret_files.0",
        "nothing brings /run/secrets/mailer/secret",
    ),
    (
        f"{BASE}/retention.yaml",
        "            - name: signing-key\n              mountPath: /run/secrets/signing-key\n              readOnly: true\n",
        "",
        f"{BASE}/retention.yaml",
        "configuration signing_key",
        "nothing brings /run/secrets/signing-key/signing_key.pem",
    ),
    (
        f"{CONFIG}/logging.toml",
        "sslrootcert=/run/secrets/database-authority/ca.crt",
        "sslrootcert=/etc/ssl/certs/ours.pem",
        LOGGING,
        "configuration database_url sslrootcert",
        "nothing brings /etc/ssl/certs/ours.pem",
    ),
    (
        f"{CONFIG}/safety_review.toml",
        "drain_seconds",
        'rules_file = "/tmp/rules.toml"\ndrain_seconds',
        f"{BASE}/safety-review.yaml",
        "configuration rules_file",
        "nothing brings /tmp/rules.toml",
    ),
    (
        IDENTITIES,
        "spiffe://domain/logging",
        "spiffe://domain/loging",
        IDENTITIES,
        "spec.uris",
        "spiffe://kept.example/logging",
    ),
    (
        IDENTITIES,
        "    - access-control.domain",
        "    - access.domain",
        IDENTITIES,
        "spec.dnsNames",
        "access-control.kept.example",
    ),
    (IDENTITIES, "server auth, client auth", "server auth", IDENTITIES, "spec.usages", "client auth"),
    (
        IDENTITIES,
        "secretName: retention-identity",
        "secretName: retention-id",
        f"{COMPONENTS}/cert-manager",
        "",
        "retention has no identity",
    ),
    (
        f"{COMPONENTS}/gateway/logging.yaml",
        "hostname: logging.domain",
        "hostname: log.domain",
        f"{COMPONENTS}/gateway/logging.yaml",
        "validation.hostname",
        "logging.kept.example",
    ),
    (
        f"{BASE}/migrations/kustomization.yaml",
        "nameSuffix: -",
        "nameSuffix: -9-",
        f"{BASE}/migrations/kustomization.yaml",
        "nameSuffix",
        "there is no Job settings-migrate",
    ),
    (
        f"{BASE}/migrations/logging.yaml",
        "--migrate]",
        "--print-config]",
        f"{BASE}/migrations/logging.yaml",
        "command",
        "does not migrate",
    ),
    (
        f"{BASE}/migrations/logging.yaml",
        "    app.kubernetes.io/component: migration\nspec:",
        "    app.kubernetes.io/component: migrations\nspec:",
        f"{BASE}/migrations/logging.yaml",
        "metadata.labels.app.kubernetes.io/component",
        "cannot be applied again once configuration has changed",
    ),
    (
        f"{PRODUCTION}/kustomization.yaml",
        "  - ../../components/key-store-hsm\n",
        "",
        f"{BASE}/access-control.yaml",
        "volumes",
        "one key store",
    ),
    (
        f"{PRODUCTION}/installation/installation.env",
        'kind = "workforce"',
        'kind = "customer"',
        f"{BASE}/access-control.yaml",
        "issuers",
        "nobody signs in workforce",
    ),
    (
        f"{COMPONENTS}/gateway/hidden-sources.yaml",
        '"true"',
        '"false"',
        SETTINGS,
        "configuration hidden_sources",
        "hides who calls",
    ),
]
MEASURED: list[Case] = [
    (
        ALERTS,
        "kept_lease_timestamp_seconds",
        "kept_lease_seconds",
        ALERTS,
        "alert KeptLeaseLagging",
        "no service exports kept_lease_seconds",
    ),
    (
        ALERTS,
        'alert=\\"retention_run_late\\"',
        'alert=\\"retention_run_slow\\"',
        ALERTS,
        "alert KeptRetentionRunLate",
        "no service raises retention_run_slow",
    ),
    (
        ALERTS,
        'alert=\\"retention_run_late\\"',
        'alert=\\"retention_run_slow\\"',
        ALERTS,
        "",
        "services raise retention_run_late",
    ),
    (
        ALERTS,
        "docs/runbooks/lease-lagging.md",
        "docs/runbooks/lease.md",
        ALERTS,
        "alert KeptLeaseLagging",
        "docs/runbooks/lease.md does not exist",
    ),
    (
        ALERTS,
        "docs/runbooks/lease-lagging.md",
        "docs/runbooks/outbox.md",
        "docs/runbooks/lease-lagging.md",
        "",
        "no alert leads here",
    ),
    (
        ALERTS,
        ' or absent(up{job=\\"retention\\"})',
        "",
        ALERTS,
        "",
        "no alert tells that retention is gone entirely",
    ),
    (
        ALERTS,
        "increase(kept_rpc_internal_errors_total[1h])",
        'increase(kept_rpc_duration_seconds_count{code=\\"INTERNAL\\"}[1h])',
        ALERTS,
        "alert KeptInternalErrors",
        "waits for an increase of kept_rpc_duration_seconds_count, which is not there before its first",
    ),
    (ALERTS, "severity: page", "severity: loud", ALERTS, "alert KeptReplicaDown", "page or ticket"),
    (
        f"{COMPONENTS}/monitoring/dashboards/kept-promises.json",
        "kept_open_grants",
        "kept_grants_open",
        f"{COMPONENTS}/monitoring/dashboards/kept-promises.json",
        "panel 'Grants open'",
        "no service exports kept_grants_open",
    ),
    (
        f"{COMPONENTS}/monitoring/dashboards/kept-calls.json",
        "sum by (exported_endpoint, outcome)",
        "sum by (endpoint, outcome)",
        f"{COMPONENTS}/monitoring/dashboards/kept-calls.json",
        "panel 'Notifications'",
        "endpoint is the target's; that of kept_webhook_tries_total is exported_endpoint",
    ),
    (
        ALERTS,
        "max by (job, exported_job) (kept_job_failing)",
        'max by (job) (kept_job_failing{job=\\"purge\\"})',
        ALERTS,
        "alert KeptJobFailing",
        "job is the target's; that of kept_job_failing is exported_job",
    ),
    (
        f"{COMPONENTS}/monitoring/kustomization.yaml",
        "      - dashboards/kept-calls.json\n",
        "",
        f"{COMPONENTS}/monitoring/dashboards/kept-calls.json",
        "",
        "does not show it",
    ),
]


@pytest.mark.parametrize(
    "case",
    [*HARDENING, *BACKUPS, *DATABASES, *NETWORK, *PORTS, *NAMES, *MEASURED],
    ids=lambda case: f"{case[4] or case[0]}: {case[5]}",
)
def test_what_breaks_a_rule_is_found_and_named(case: Case) -> None:
    file, old, new, where, field, text = case
    found = rules(edited(file, old, new))
    assert any(
        finding.file.startswith(where) and field in finding.field and text in finding.text
        for finding in found
    ), "\n".join(map(str, found))


_SCORER = 'scorers = [{name = "linear", category = "fraud", severity = "high", flag_at = 0.9}]\n'
_OWN_POLICY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: ours
  namespace: kept
  labels: {labels}
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/component: service
  policyTypes: [Egress]
  egress:
    - to:
        - ipBlock:
            cidr: 10.1.2.3/32
      ports:
        - protocol: TCP
          port: {port}
"""


def with_scorer(address: str) -> Read:
    """Safety review with an external detector."""
    config = f"{CONFIG}/safety_review.toml"
    read = edited(config, "drain_seconds", _SCORER + "drain_seconds")
    return added(read, {config: f'linear = "{address}"\n'}, {})


def with_policy(read: Read, port: int, labels: str = '{kept.dev/own: "true"}') -> Read:
    """The local overlay with a network policy of the operator's."""
    overlay = f"{OVERLAY}/local/installation"
    policy = _OWN_POLICY.format(port=port, labels=labels)
    return added(
        read, {f"{overlay}/kustomization.yaml": "resources:\n  - own.yaml\n"}, {f"{overlay}/own.yaml": policy}
    )


def with_component(read: Read, name: str) -> Read:
    """The local overlay with one component more."""
    kustomization, line = ROOT / OVERLAY / "local" / "kustomization.yaml", "components:\n"
    return lambda path: (
        read(path).replace(line, f"{line}  - ../../components/{name}\n", 1)
        if path == kustomization
        else read(path)
    )


def test_an_external_detector_is_a_peer_and_there_has_to_be_a_way_to_it() -> None:
    read = with_scorer("scorer.scorers.svc.cluster.local:7071")
    (finding,) = rules(read, "local")
    assert finding.text == (
        "there is no policy for safety_review → namespace kept.dev/scorer port 7071 (Egress)"
    )
    assert not rules(with_component(read, "scorers"), "local")
    elsewhere = with_scorer("scorer.example:7072")
    closed = [finding.text for finding in rules(with_component(elsewhere, "scorers"), "local")]
    assert [text.partition(":")[0] for text in closed] == [
        "opens what no contract declares",
        "there is no policy for safety_review → namespace kept.dev/scorer port 7072 (Egress)",
    ]
    assert not rules(with_policy(elsewhere, 7072), "local")
    assert rules(with_policy(elsewhere, 7073), "local")
    assert not rules(with_scorer("scorer.example:443"), "local")


def test_a_policy_of_the_operators_is_listed_and_one_without_its_label_found() -> None:
    read = with_policy(Path.read_text, 443)
    assert not rules(read, "local")
    opened = network.opened_by_operator(Overlay.rendered("local", read))
    assert [f"{flow}, by {policy}" for flow, policy in opened] == [
        "every service → 10.1.2.3/32 port 443 (Egress), by NetworkPolicy ours"
    ]
    (finding,) = rules(with_policy(Path.read_text, 443, "{}"), "local")
    assert "every service → 10.1.2.3/32 port 443 (Egress)" in finding.text
    assert network.OWN in finding.text


@pytest.mark.parametrize("service", ["access_control", "settings", "retention"])
def test_the_secrets_of_notifications_are_mounted_wherever_there_are_notifications(service: str) -> None:
    secret = "/run/secrets/notifications/crm"
    told = f'notifications = [{{name = "crm", url = "https://crm.example/x", secret_files = ["{secret}"]}}]\n'
    config = f"{CONFIG}/{service}.toml"
    assert not rules(edited(config, "drain_seconds", told + "drain_seconds"))


def test_a_volume_may_be_mounted_at_the_very_place_that_is_configured() -> None:
    folder = 'policies = "/run/secrets/notifications"\n'
    assert not rules(edited(f"{CONFIG}/access_control.toml", "drain_seconds", folder + "drain_seconds"))
    mount = "mountPath: /run/secrets/signing-key"
    file = f"{mount}/signing_key.pem\n              subPath: signing_key.pem"
    assert not rules(edited(f"{BASE}/retention.yaml", mount, file))
    store = "mountPath: /var/lib/kept/key-store"
    assert not rules(
        edited(f"{COMPONENTS}/key-store-volume/access-control.yaml", store, f"{store}/roots"), "local"
    )


def test_an_hsm_may_have_several_places_and_ports() -> None:
    policy, port = (
        f"{COMPONENTS}/key-store-hsm/network-policy.yaml",
        "        - protocol: TCP\n          port: ",
    )
    place = "    - to:\n        - ipBlock:\n            cidr: 198.51.100.0/24\n      ports:\n"
    several = f"{port}1792\n{port}1793\n{place}{port}9000"
    assert not rules(edited(policy, f"{port}1792", several))
    found = rules(edited(policy, f"{port}1792", several.replace("198.51.100.0/24", "0.0.0.0/0")))
    assert any("access_control → anywhere port 9000" in finding.text for finding in found)


SCHEMA: list[Case] = [
    (SETTINGS, "replicas: 2", "replica: 2", SETTINGS, "spec", "'replica' was unexpected"),
    (
        WORKLOAD,
        "failureThreshold: 60",
        "failureThreshold: many",
        SETTINGS,
        "startupProbe.failureThreshold",
        "not of type",
    ),
    (
        f"{COMPONENTS}/cert-manager/authority.yaml",
        "algorithm: ECDSA",
        "algorithm: ROT13",
        f"{COMPONENTS}/cert-manager/authority.yaml",
        "privateKey.algorithm",
        "ROT13",
    ),
    (
        f"{COMPONENTS}/cloudnative-pg/cluster.yaml",
        "enableSuperuserAccess",
        "superuserAccess",
        f"{COMPONENTS}/cloudnative-pg/settings.yaml",
        "spec",
        "superuserAccess",
    ),
    (
        f"{COMPONENTS}/autoscaling/logging.yaml",
        "autoscaling/v2",
        "autoscaling/v2beta2",
        f"{COMPONENTS}/autoscaling/logging.yaml",
        "kind",
        "no schema of autoscaling/v2beta2",
    ),
    (
        f"{BASE}/namespace.yaml",
        "  labels:",
        "  annotations:\n  labels:",
        f"{BASE}/namespace.yaml",
        "metadata.annotations",
        "says nothing",
    ),
]


@pytest.mark.parametrize("case", SCHEMA, ids=lambda case: f"{case[4]}: {case[5]}")
def test_what_no_server_would_take_is_found_and_named(case: Case) -> None:
    file, old, new, where, field, text = case
    found = list(schemas.check(Overlay.rendered("production", edited(file, old, new)).resources))
    assert any(
        finding.file.startswith(where) and field in finding.field and text in finding.text
        for finding in found
    ), "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        (f"{BASE}/kustomization.yaml", "namespace: kept", "namePrefix: kept-", "namePrefix is not supported"),
        (
            f"{BASE}/kustomization.yaml",
            "  - logging.yaml\n",
            "  - loging.yaml\n",
            "loging.yaml: cannot be read",
        ),
        (
            f"{BASE}/kustomization.yaml",
            "  - logging.yaml\n",
            "  - logging.yaml\n  - logging.yaml\n",
            "is there twice",
        ),
        (f"{BASE}/kustomization.yaml", "      kind: Deployment", "      kind: StatefulSet", "nothing is"),
        (
            f"{OVERLAY}/local/kustomization.yaml",
            "/spec/instances",
            "/spec/instance",
            "there is nothing there",
        ),
        (f"{COMPONENTS}/cert-manager/kustomization.yaml", "spec.uris.0", "spec.uris.1", "has no spec.uris.1"),
    ],
)
def test_a_kustomization_that_does_not_render_is_named(file: str, old: str, new: str, text: str) -> None:
    overlay, found = check("local", edited(file, old, new))
    assert overlay is None
    assert text in found[0].text


@pytest.mark.parametrize(
    ("expression", "metrics"),
    [
        ("time() - max by (job, kind) (kept_a_seconds > 0) > 600", {"kept_a_seconds"}),
        ('sum(rate(kept_b_total{code="x", kind=~"kept_c.*"}[5m])) and up == 0', {"kept_b_total", "up"}),
        ("histogram_quantile(0.99, sum by (le) (rate(kept_d_bucket[5m])))", {"kept_d_bucket"}),
    ],
)
def test_the_metrics_of_an_expression_are_read(expression: str, metrics: set[str]) -> None:
    assert measured.metrics_of(expression) == metrics

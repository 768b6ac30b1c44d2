"""Reads OpenMetrics text with Prometheus's own parser, which rejects what the standard does not allow; prints what it says as JSON."""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = text_string_to_metric_families(sys.stdin.read())
print(
    json.dumps(
        [
            {
                "name": family.name,
                "type": family.type,
                "unit": family.unit,
                "help": family.documentation,
                "samples": [[sample.name, sample.value, sample.labels] for sample in family.samples],
            }
            for family in families
        ]
    )
)

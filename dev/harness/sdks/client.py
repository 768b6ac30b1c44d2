"""A client of posthog-python that its test drives: a command a line, an answer a line, both JSON."""

import json
import sys

from posthog import Posthog

host, project_key, secret_key, poll_interval = sys.argv[1:]
client = Posthog(project_key, host=host, secret_key=secret_key, poll_interval=float(poll_interval), gzip=True)


def flags_of(distinct_id, options):
    return client.get_all_flags(
        distinct_id,
        groups=options["groups"],
        person_properties=options["personProperties"],
        group_properties=options["groupProperties"],
        only_evaluate_locally=True,
    )


def answer(command, argument=None):
    if command == "load":
        client.load_feature_flags()
    elif command == "evaluate":
        return [flags_of(*user) for user in argument]
    elif command == "capture":
        client.capture(argument, distinct_id="user-1")
        client.flush()
    elif command == "decide":
        return client.get_feature_variants("user-1")


for line in sys.stdin:
    print(json.dumps(answer(*json.loads(line))), flush=True)
client.shutdown()

"""posthog-python evaluates with the definitions that a fleet of Node.js processes shares, and never asks PostHog for them.

pip install posthog redis. The Node.js processes need compression: 'none'.
"""

import json
import os
import sys

from posthog import Posthog
from redis import Redis


class FlagCacheReader:
    """A flag_definition_cache_provider that only reads."""

    def __init__(self, redis, project_key, key_prefix="posthog:flags"):
        self._redis = redis
        self._key = f"{key_prefix}:{{{project_key}}}"

    def should_fetch_flag_definitions(self):
        return False

    def get_flag_definitions(self):
        stored = self._redis.get(self._key)
        return json.loads(stored) if stored else None

    def on_flag_definitions_received(self, data):
        """The Node.js processes write. A second writer would undo their edits."""

    def shutdown(self):
        self._redis.close()


if __name__ == "__main__":
    project_key = os.environ["POSTHOG_PROJECT_KEY"]
    reader = FlagCacheReader(Redis.from_url(os.environ["REDIS_URL"]), project_key)
    # posthog-python asks its provider only if it has a key. This one is never sent.
    posthog = Posthog(project_key, secret_key="unused", flag_definition_cache_provider=reader)
    posthog.load_feature_flags()
    print(json.dumps(posthog.get_all_flags(sys.argv[1], only_evaluate_locally=True)))
    posthog.shutdown()

"""The question of `helm test`: one recommendation for one user, and what came back."""

import json
import os
import sys
import urllib.error
import urllib.request

question = json.dumps({"user_id": json.loads(os.environ["USER_ID"]), "k": 5, "deadline_ms": 2000}).encode()
headers = {"Authorization": f"Bearer {os.environ['API_KEY']}", "Content-Type": "application/json"}
try:
    with urllib.request.urlopen(urllib.request.Request(os.environ["URL"], question, headers), timeout=10) as response:
        answer = json.load(response)
except urllib.error.HTTPError as error:
    hint = {401: "the Secret's api-key is none of api-keys.json", 503: f"no release yet: run `{os.environ['NIGHT']}`"}
    sys.exit(f"the gateway answered {error.code}: {hint.get(error.code, error.read().decode(errors='replace'))}")
except OSError as error:
    sys.exit(
        f"no gateway answers at {os.environ['URL']}: {error}; before the first release none is ready: "
        f"run `{os.environ['NIGHT']}`"
    )
if not answer["items"]:
    sys.exit(f"a recommendation without a post: {answer}")
print(f"model version {answer['model_version']}, degraded {answer['degraded']}, {len(answer['items'])} posts")

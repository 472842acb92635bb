"""Exit status 0 when a GET on 127.0.0.1 answers 200: `healthcheck.py 8081 /livez`. The images have
no curl. It runs every few seconds beside the service, so it imports as little as it can.
"""

import http.client
import sys

LIMIT_S = 3.0

if __name__ == "__main__":
    port, path = sys.argv[1:]
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=LIMIT_S)
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(500).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{type(error).__name__}: {error}")  # shown by `docker inspect`
    if answer.status != 200:
        sys.exit(f"{answer.status} {said}")

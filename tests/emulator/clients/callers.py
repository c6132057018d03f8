"""Many callers of one function, in a process of their own: what each sent, what came back, as JSON on stdout."""

import http.client
import json
import sys
import threading

port, callers, each = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
outcomes = {"crossed": 0, "failed": 0, "throttled": 0, "answered": 0}
lock = threading.Lock()


def call(caller):
    """One caller: its own connection, one invocation after the other, each with a number of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    mine = dict.fromkeys(outcomes, 0)
    for number in range(each):
        token = f"{caller}-{number}"
        while True:
            connection.request("POST", "/2015-03-31/functions/plain/invocations", json.dumps({"token": token}))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 429:
                break
            mine["throttled"] += 1
            threading.Event().wait(0.01)
        if answer.status != 200 or answer.headers.get("X-Amz-Function-Error"):
            mine["failed"] += 1
        elif json.loads(body)["echo"]["token"] != token:
            mine["crossed"] += 1
        else:
            mine["answered"] += 1
    connection.close()
    with lock:
        for key, value in mine.items():
            outcomes[key] += value


threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(outcomes))

"""What peers written in Python share: answering the requests that bench/step_bench.cpp describes."""

import resource
import sys
import time


def run(step, seconds):
    step()
    steps, start = 0, time.perf_counter()
    while True:
        step()
        steps += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return "%d %.6f" % (steps, elapsed)


def serve(prepare_step):
    """Answers requests until there are no more; `prepare_step` makes a function that does a step of a request."""
    step = None
    for line in sys.stdin:
        words = line.split()
        try:
            if words[0] == "memory":
                reply = str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            elif words[0] == "run":
                reply = run(step, float(words[1]))
            else:
                step = None
                step = prepare_step(*words)
                reply = "ready"
        except Exception as error:  # whatever it was, the other side has to hear of it
            reply = "error: " + " ".join(str(error).split())
        print(reply, flush=True)

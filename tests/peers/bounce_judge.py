"""Run in the judges' environment: for each file the addresses that flufl.bounce finds in it, as a line of JSON."""

import json
import sys
from email import message_from_binary_file
from pathlib import Path

from flufl.bounce import all_failures

for path in sys.argv[1:]:
    with Path(path).open("rb") as mail:
        temporary, permanent = all_failures(message_from_binary_file(mail))
    found = {"temporary": sorted(map(bytes.decode, temporary)), "permanent": sorted(map(bytes.decode, permanent))}
    print(json.dumps(found))

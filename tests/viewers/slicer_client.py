"""What 3D Slicer's module MONAI Label does, with the client file that it ships.

Run by the Python of the annotation server: the client is in MONAI Label's wheel, and Slicer's copy
differs in a log line. The one argument is a file of JSON: url, name, token, image, other, label,
names, model and folder, see test_slicer.py. Writes what came back as JSON to standard output.
"""

import json
import shutil
import sys
from pathlib import Path

from monailabel.client import MONAILabelClient


class Slicer:
    """A new client each time: one with a token sends the headers of its last file again."""

    def __init__(self, asked):
        self.asked = asked
        self.token = None

    def __getattr__(self, name):
        client = MONAILabelClient(self.asked["url"], self.asked["folder"], "slicer")
        client.update_auth(self.token)
        return getattr(client, name)

    def kept(self, file, name):
        """A file that came, under a name of its own."""
        kept = Path(self.asked["folder"]) / f"{name}{''.join(Path(file).suffixes)}"
        shutil.move(file, kept)
        return str(kept)

    def mask(self, name, image, **how):
        file, params = self.infer(self.asked["model"], image, {}, **how)
        return {"file": self.kept(file, name), "params": params}


def main():
    asked = json.loads(Path(sys.argv[1]).read_text())
    model, image = asked["model"], asked["image"]
    slicer, told = Slicer(asked), {}
    told["auth_enabled"] = slicer.auth_enabled()
    told["valid_before"] = slicer.auth_valid_token()
    slicer.token = slicer.auth_token(asked["name"], asked["token"])
    told["valid_after"] = slicer.auth_valid_token()
    told["info"] = slicer.info()
    told["next"] = slicer.next_sample("first", {})
    told["infer"] = slicer.mask("infer", image)

    session = slicer.create_session(asked["other"])["session_id"]
    told["session"] = slicer.get_session(session)
    told["session_infer"] = slicer.mask("session", "", session_id=session)
    slicer.remove_session(session)

    told["saved"] = slicer.save_label(image, asked["label"], params={"label_info": asked["names"]})
    told["datastore"] = slicer.datastore()
    told["downloaded"] = slicer.kept(slicer.download_label(image, "final"), "downloaded")

    told["running_before"] = slicer.train_status(True)
    told["started"] = slicer.train_start(model, {"max_epochs": 500})
    told["running"] = slicer.train_status(True)
    told["status"] = slicer.train_status()
    told["stopped"] = slicer.train_stop()
    json.dump(told, sys.stdout)


main()

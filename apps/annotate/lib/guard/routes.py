"""Which role each route needs. This is all there is: a path that is not here is answered 404.

Of MONAI Label's own, left out are `/reload`, `/docs`, `/openapi.json`, `/static`, `/logs/gpu` and
whole-slide inference.
"""

from __future__ import annotations

from lib.guard import (
    data,
    inference,
    login,
    logs,
    model_files,
    proxy,
    sessions,
    tasks,
    viewer,
    work,
)
from lib.guard.app import the_app
from lib.guard.people import ADMIN, ANNOTATOR, REVIEWER, USER
from lib.guard.table import Route, Table


def info() -> object:
    """The models, trainers and strategies that there are, and the trainings that there were.

    OHIF draws the progress of one that never began, which MONAI Label tells as {}, as complete.
    """
    told = the_app().info()
    trained = {name: stats for name, stats in told["train_stats"].items() if stats}
    return {**told, "train_stats": trained}


TABLE = Table(
    [
        # Logging in.
        Route("GET", "/login", None, login.show),
        Route("POST", "/login", None, login.log_in),
        Route("POST", "/logout", None, login.log_out),
        Route("GET", "/auth/", None, login.is_enabled),
        Route("POST", "/auth/token", None, login.token),
        Route("GET", "/auth/token/valid", USER, login.who),
        # The viewer, and the archive for it.
        Route("GET", "/", USER, viewer.to_viewer),
        Route("GET", "/ohif", USER, viewer.to_viewer),
        Route("GET", "/ohif/", USER, viewer.open_viewer),
        Route("GET", "/ohif/{path:path}", USER, viewer.open_viewer),
        Route("GET", "/proxy/dicom/qido/{path:path}", USER, proxy.read_archive),
        Route("GET", "/proxy/dicom/wado/{path:path}", USER, proxy.read_archive),
        Route("POST", "/proxy/dicom/wado/{path:path}", ANNOTATOR, proxy.store_in_archive, True),
        # Models on images.
        Route("GET", "/info/", USER, info),
        Route("POST", "/infer/{model}", USER, inference.infer, True),
        Route("POST", "/activelearning/{strategy_name}", ANNOTATOR, inference.next_sample),
        Route("PUT", "/session/", USER, sessions.create, True),
        Route("GET", "/session/{session_id}", USER, sessions.get),
        Route("DELETE", "/session/{session_id}", USER, sessions.remove),
        # People: a page for a browser, JSON for a program.
        Route("GET", "/work", ANNOTATOR, work.overview),
        Route("GET", "/work/image", ANNOTATOR, work.detail),
        Route("POST", "/work/take", ANNOTATOR, work.take),
        Route("POST", "/work/release", ANNOTATOR, work.release),
        Route("POST", "/work/assign", REVIEWER, work.assign),
        Route("POST", "/work/review", REVIEWER, work.review),
        Route("POST", "/work/consensus", REVIEWER, work.consensus),
        # Images and labels. PUT and DELETE of /datastore/ are older names, which Slicer uses.
        Route("GET", "/datastore/", USER, data.overview),
        Route("PUT", "/datastore/", ANNOTATOR, data.add_image, True),
        Route("DELETE", "/datastore/", ADMIN, data.remove_image),
        Route("GET", "/datastore/image", USER, data.get_image),
        Route("HEAD", "/datastore/image", USER, data.check_image),
        Route("PUT", "/datastore/image", ANNOTATOR, data.add_image, True),
        Route("DELETE", "/datastore/image", ADMIN, data.remove_image),
        Route("GET", "/datastore/image/info", USER, data.get_image_info),
        Route("PUT", "/datastore/image/info", REVIEWER, data.put_image_info),
        Route("GET", "/datastore/label", USER, data.get_label),
        Route("HEAD", "/datastore/label", USER, data.check_label),
        Route("PUT", "/datastore/label", ANNOTATOR, data.save_label, True),
        Route("DELETE", "/datastore/label", ADMIN, data.remove_label),
        Route("GET", "/datastore/label/info", USER, data.get_label_info),
        Route("PUT", "/datastore/label/info", REVIEWER, data.put_label_info),
        Route("PUT", "/datastore/updatelabelinfo", REVIEWER, data.put_label_params),
        Route("GET", "/datastore/dataset", REVIEWER, data.get_dataset),
        # Work that takes long.
        Route("GET", "/train/", USER, tasks.status_of(tasks.TRAIN)),
        Route("POST", "/train/", ADMIN, tasks.train_all),
        Route("POST", "/train/{model}", ADMIN, tasks.train),
        Route("DELETE", "/train/", ADMIN, tasks.stop_of(tasks.TRAIN)),
        Route("GET", "/scoring/", USER, tasks.status_of(tasks.SCORING)),
        Route("POST", "/scoring/", REVIEWER, tasks.score_all),
        Route("POST", "/scoring/{method}", REVIEWER, tasks.score),
        Route("DELETE", "/scoring/", REVIEWER, tasks.stop_of(tasks.SCORING)),
        Route("GET", "/batch/infer", USER, tasks.status_of(tasks.BATCH_INFER)),
        Route("POST", "/batch/infer/{model}", REVIEWER, tasks.infer_batch),
        Route("DELETE", "/batch/infer", REVIEWER, tasks.stop_of(tasks.BATCH_INFER)),
        # The server itself.
        Route("GET", "/logs/", REVIEWER, logs.tail),
        Route("GET", "/model/{model}", ADMIN, model_files.get),
        Route("GET", "/model/info/{model}", ADMIN, model_files.info),
        Route("PUT", "/model/{model}", ADMIN, model_files.put, True),
        Route("DELETE", "/model/{model}", ADMIN, model_files.remove),
    ]
)

"""The faults of what Triton reads and of where it runs: config.pbtxt, the model repository, the node, the load."""

from __future__ import annotations

from waypost.release.preflight.fault import WRITE, Fault

CONFIG = {
    "config-missing": Fault(
        "no `config.pbtxt` in the model's folder", "Triton guesses it, or refuses the python backend", WRITE
    ),
    "config-unreadable": Fault("`config.pbtxt` is not text protobuf", "Triton skips the model", WRITE, "seen"),
    "config-unknown-field": Fault(
        "`config.pbtxt` has a field that Triton does not know, or misspells one",
        "Triton refuses the whole file",
        "mend the name of the field",
        "seen",
    ),
    "config-unknown-value": Fault(
        "`config.pbtxt` has a word that Triton does not know, such as FP32 for TYPE_FP32",
        "Triton refuses the whole file",
        "mend the word",
        "server#2502, server#3593",
    ),
    "folder-name": Fault(
        "the model's folder and its `name:` differ, or are not `recommender`",
        "Triton refuses the model, or the worker asks for another",
        "call both `recommender`",
        "seen",
    ),
    "config-backend": Fault(
        "a backend that Triton does not have",
        "unable to find the backend's library",
        'use "onnxruntime" or "python"',
        "seen",
    ),
    "config-platform": Fault(
        "`platform` and `backend` contradict each other", "Triton refuses the model", "leave `platform` out"
    ),
    "config-ensemble": Fault(
        "an ensemble, or a step of one",
        "the release is one model; the steps' models are not in it, and warm-up is refused",
        WRITE,
        "server#6326",
    ),
    "config-model-file": Fault(
        "`default_model_filename` names a file that a version lacks",
        "the load fails or never returns",
        "leave it out",
        "seen",
    ),
    "config-batch-size": Fault(
        "`max_batch_size` is 0 or less than the worker sends",
        "requests are refused, or dims get another meaning",
        WRITE,
        "server#6196",
    ),
    "config-preferred-batch": Fault(
        "`preferred_batch_size` is above `max_batch_size`, or not positive",
        "Triton refuses the model: dynamic batching preferred size must be <= max batch size",
        "lower it",
        "onnxruntime_backend#148, seen",
    ),
    "config-tensor-name": Fault(
        "an input or output of `config.pbtxt` that the graph does not have, or the other way round",
        "the onnxruntime backend refuses the load; the python backend loads it and fails every request",
        WRITE,
        "seen",
    ),
    "config-tensor-type": Fault(
        "an input or output has another type than in the graph",
        "the onnxruntime backend refuses the load; the python backend loads it and fails every request",
        WRITE,
        "seen",
    ),
    "config-tensor-shape": Fault(
        "an input or output has other dims than in the graph",
        "the onnxruntime backend refuses the load; the python backend loads it and fails requests",
        WRITE,
        "server#4194, onnxruntime_backend#165",
    ),
    "config-dims": Fault("dims that are 0, below -1, or absent", "Triton refuses the model", WRITE, "seen"),
    "config-ragged": Fault(
        "`allow_ragged_batch` with the onnxruntime backend, or none with the python backend",
        "the onnxruntime backend needs `batch_input` for it; without it requests of different widths never batch",
        WRITE,
    ),
    "config-tensor-options": Fault(
        "`reshape`, `is_shape_tensor`, `optional` or `format` on an input or output",
        "the graph would get another shape than the worker sends",
        "leave it out",
    ),
    "config-instance-count": Fault(
        "`instance_group` with a count below 0 or far too many copies",
        "a negative count is silently taken for one; every copy holds all tables in memory",
        "use a small positive count",
    ),
    "config-instance-gpus": Fault(
        "`gpus` on an instance group that is not KIND_GPU", "Triton refuses the model", "leave `gpus` out", "seen"
    ),
    "config-version-policy": Fault(
        "a `version_policy` other than all",
        "the version that is served would be unloaded before the new one has proved itself",
        "use `version_policy { all { } }`",
        "server#4416, server#2853",
    ),
    "config-scheduler": Fault(
        "`sequence_batching`, or two schedulers at once",
        "Triton refuses two; with sequences every request would need a correlation id, which the worker does not send",
        WRITE,
    ),
    "config-decoupled": Fault("a decoupled transaction policy", "a plain inference request is refused", "leave it out"),
    "config-environment": Fault(
        "EXECUTION_ENV_PATH names a file that is not there",
        "the stub starts in the wrong Python, or never",
        "name an existing archive, or leave it out",
        "server#3222, server#4132",
    ),
    "warmup-input": Fault(
        "a warm-up sample lacks an input, or names one that the model does not have",
        "the load fails: unexpected or missing inference input",
        "name exactly the model's inputs",
        "server#1795, seen",
    ),
    "warmup-shape": Fault(
        "a warm-up input of another type or other dims",
        "the load fails",
        "use the config's own type and dims",
        "server#1796",
    ),
    "warmup-batch": Fault(
        "a warm-up sample above `max_batch_size`",
        "the load fails, or the whole server dies of it, with every other model",
        "lower its batch_size",
        "seen",
    ),
    "warmup-data": Fault(
        "warm-up data from a file that is not there, or random data for row numbers",
        "the load fails: no such file, or rows out of range in Gather",
        "use zero_data",
        "seen",
    ),
}

REPOSITORY = {
    "not-a-repository": Fault(
        "neither a release nor a model repository", "there is nothing to load", "name a release or a repository"
    ),
    "version-name": Fault(
        "a version folder such as `01`, `0` or `new`",
        "Triton ignores the folder, or looks for `1` and does not find it",
        "rename it to a positive number without leading zeros",
        "tensorrtllm_backend#562, seen",
    ),
    "version-missing": Fault(
        "no version folder, or the model lies beside `config.pbtxt`",
        "at least one version must be available under the version policy",
        "put the model into a folder `1`",
        "server#3687, server#4697, server#3384",
    ),
    "version-empty": Fault(
        "an empty version folder",
        "the load never returns; a Triton that starts with it never comes up",
        "assemble the version again, or remove it",
        "seen",
    ),
    "model-missing": Fault(
        "a version folder without `model.onnx`", "the load fails or never returns", WRITE, "server#6416, seen"
    ),
    "model-py-missing": Fault(
        "python backend without `model.py` in a version folder",
        "the load never returns; a Triton that starts with it never comes up",
        WRITE,
        "seen",
    ),
    "model-py-syntax": Fault("`model.py` is not valid Python", "the load fails in the stub", WRITE, "seen"),
    "model-py-class": Fault(
        "`model.py` has no class TritonPythonModel with `execute`", "the load fails in the stub", WRITE, "seen"
    ),
    "model-py-import": Fault(
        "`model.py` imports what Triton's Python does not have",
        "the load fails: ModuleNotFoundError",
        "install it in Triton's own environment",
        "server#3189, server#6621",
    ),
    "model-py-foreign": Fault(
        "`model.py` is not the one of this Waypost",
        "whoever wrote it runs code in Triton, and nobody tested it with this release",
        WRITE,
    ),
    "padding-differs": Fault(
        "`padding.json` is missing or not of the model's tables",
        "requests of different widths are padded with a real post: wrong lists, no error",
        WRITE,
    ),
    "golden-missing": Fault(
        "a repository without the release's golden answers and lookups: only the load could be checked",
        "a wrong answer looks like a right one",
        WRITE,
    ),
}

NODE = {
    "node-gpu": Fault(
        "KIND_GPU, or a GPU by number, that this node does not have",
        "Triton refuses the model: no GPUs are available, or unsupported gpu id",
        "use KIND_CPU, or a node with that GPU",
        "server#3912, server#2584",
    ),
    "node-shared-memory": Fault(
        "too little free in /dev/shm for the python backend",
        "the stub cannot start, or fails at the first large batch",
        "mount a memory emptyDir on /dev/shm, or docker run --shm-size 256m",
        "server#6195, server#4869",
    ),
    "node-numpy": Fault(
        "numpy 2 or none in the python stub's environment",
        "every output of such a Triton is empty, with no error and the model READY",
        "install numpy<2 in Triton's own environment",
        "server#8301, python_backend#384, seen",
    ),
    "node-python": Fault(
        "the python stub is of another Python than its environment",
        "compiled packages cannot be imported: the load fails",
        "use the stub of that Python version and of the same Triton release",
        "server#4132, server#8357",
    ),
    "node-glibc": Fault(
        "the python stub was built for a newer C library than this node has",
        "the stub does not start: version GLIBC_… not found",
        "use the stub of this Triton release on its own image",
        "server#5933, server#7913",
    ),
}

LOAD = {
    "load-failed": Fault("the real Triton refuses the model", "a worker could not load it either", "see Triton's log"),
    "load-hung": Fault(
        "the real Triton did not come back from the load in time",
        "a worker would wait in vain and restart its Triton",
        "see Triton's log; WAYPOST_EXPORTER_PREFLIGHT_TIMEOUT_SECONDS is the limit",
    ),
    "answer-failed": Fault(
        "it loads and fails the golden questions, or answers with nothing",
        "every request would fail",
        "see Triton's log",
    ),
    "golden-mismatch": Fault(
        "it loads and answers wrongly", "callers would get wrong lists", "compare the runtimes; export again"
    ),
    "golden-slow": Fault(
        "it answers rightly and too late",
        "requests would pass their deadline and be answered by popularity",
        "see that Triton has its GPU and no other load; WAYPOST_EXPORTER_GOLDEN_SECONDS is the limit",
    ),
}

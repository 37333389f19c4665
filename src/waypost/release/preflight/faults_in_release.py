"""The faults of a release: its manifest and files, its model, and what lies beside the model."""

from __future__ import annotations

from waypost.release.preflight.fault import AGAIN, EXPORT, FETCH, Fault

RELEASE = {
    "manifest-unreadable": Fault("`manifest.json` is cut, or not a manifest", "nothing can be verified", AGAIN),
    "signature-wrong": Fault(
        "the manifest is not signed, or not by a key that is trusted here",
        "a worker refuses it before it reads anything else",
        "publish it again with the signing key, or add the key to WAYPOST_RELEASE_KEYS_FILE",
    ),
    "release-name": Fault(
        "the folder is called like another release than its manifest names",
        "a worker asks for the one and would get the other",
        FETCH,
    ),
    "release-version": Fault(
        "the manifest's version is missing, or not the number in the release's id",
        "Triton would serve it under another number than the pointer says",
        AGAIN,
    ),
    "tensors-version": Fault(
        "the release speaks another version of `model/signature.py`",
        "this worker would send other inputs than the model takes",
        "use the Waypost that made the release, or publish again with this one",
    ),
    "s3-characters": Fault(
        "a name or an S3 address with characters outside `0-9 A-Z a-z . - _ /`",
        "Triton's S3 client silently loses the custom endpoint at such a character and waits for AWS",
        "use plain names",
        "server#1534, server#2008, seen",
    ),
    "executable-file": Fault(
        "a release holds code: a script, a library, a pickle",
        "what comes from S3 is never executed; whoever writes the bucket would run code in every pod",
        "remove it and publish again; `model.py` comes from the image",
    ),
    "file-unnamed": Fault(
        "the manifest does not name a file that every release has", "worker or gateway cannot use it", AGAIN
    ),
    "file-missing": Fault("a file that the manifest names is not there", "it cannot be loaded whole", FETCH),
    "file-unlisted": Fault(
        "a file lies in the release that its manifest does not name", "nobody vouches for it", "remove it"
    ),
    "digest-mismatch": Fault(
        "a file has another size or sha256 than the manifest says", "it is not what was published", FETCH
    ),
    "symlink-outside": Fault(
        "a symbolic link that leads out of the folder, or to nothing",
        "in the pod there is nothing behind it, or something that nobody verified",
        "put the file itself there",
    ),
    "facts-model": Fault(
        "IR version or opset in the manifest are not those of `model.onnx`",
        "whoever trusts the manifest would load what its Triton refuses",
        AGAIN,
    ),
    "facts-sizes": Fault(
        "the manifest's numbers of users, posts or tags are not those of the files",
        "manifest and files are of two nights",
        AGAIN,
    ),
}

MODEL = {
    "onnx-unreadable": Fault("`model.onnx` is cut, empty or no ONNX file", "ONNX Runtime refuses it", "export again"),
    "onnx-invalid": Fault("`model.onnx` fails ONNX's own checker", "ONNX Runtime refuses it", "export again"),
    "onnx-ir-too-new": Fault(
        "the IR version is newer than the target Triton's ONNX Runtime reads",
        "the load fails: Unsupported model IR version",
        "export with a lower IR version",
        "server#8001, onnxruntime#23602",
    ),
    "onnx-opset-too-new": Fault(
        "the opset is newer than the target Triton's ONNX Runtime knows",
        "the load fails: the opset is under development",
        "export with a lower opset",
        "vespa#28161",
    ),
    "onnx-op-unknown": Fault("an operator that ONNX never had", "no kernel: the load fails", EXPORT),
    "onnx-op-too-new": Fault(
        "an operator from a later opset than the model declares", "no kernel at that opset: the load fails", EXPORT
    ),
    "onnx-op-removed": Fault(
        "an operator that was removed before the opset that the model declares",
        "no kernel at that opset: the load fails",
        EXPORT,
    ),
    "onnx-custom-ops": Fault(
        "operators of a domain that is not ONNX's",
        "Triton's ONNX Runtime has no kernel for them",
        EXPORT,
        "server#4101, server#5062",
    ),
    "onnx-contrib-ops": Fault(
        "operators of `com.microsoft` or `ai.onnx.ml`",
        "they change with ONNX Runtime's version and most have no CUDA kernel",
        EXPORT,
    ),
    "onnx-training-ops": Fault(
        "operators of a training or preview domain", "inference builds of ONNX Runtime have no kernel for them", EXPORT
    ),
    "onnx-external-data": Fault(
        "weights in a file beside `model.onnx`",
        "a release carries one model file; the weights would be missing in the pod",
        "export with the weights inside",
        "onnx-tensorrt#542",
    ),
    "onnx-not-finite": Fault("NaN or infinity in a table of the model", "scores become NaN", "train again"),
    "onnx-tables": Fault(
        "a table's last row is not the padding row that the graph compares with",
        "padding would be counted as a post, a word or a tag: wrong lists, no error",
        "export again",
    ),
    "onnx-batch-fixed": Fault(
        "an input or output whose first dimension is fixed",
        "Triton batches along it: the load fails, or one row at a time",
        "export with a dynamic batch dimension",
        "server#7462",
    ),
    "onnx-signature": Fault(
        "an input or output differs from `model/signature.py` in name, type or dims",
        "the worker sends the signature's tensors",
        "export again",
    ),
}

COMPANIONS = {
    "lookups-unreadable": Fault("`lookups.safetensors` cannot be read", "the worker cannot use it", AGAIN),
    "lookups-inconsistent": Fault(
        "the lookups contradict themselves: ids out of order, rows out of range",
        "users would get other people's answers",
        AGAIN,
    ),
    "lookups-differ": Fault(
        "the lookups have another number of users, posts, tags or words than the model's tables",
        "rows would mean other posts, with no error",
        AGAIN,
    ),
    "golden-unreadable": Fault(
        "`golden.json` cannot be read or holds no question", "nobody can check an answer", AGAIN
    ),
    "golden-not-finite": Fault(
        "a golden answer is NaN or infinite", "every comparison with NaN passes: any model would be right", AGAIN
    ),
    "golden-shape": Fault(
        "golden questions and answers of different numbers or lengths", "no model can answer them", AGAIN
    ),
    "golden-range": Fault("a golden question or answer names a row that is not there", "no model can answer it", AGAIN),
    "tokenizer-unreadable": Fault("`tokenizer.json` cannot be read", "the worker cannot use the release", AGAIN),
    "tokenizer-differs": Fault(
        "the tokenizer knows more words than the model has rows for",
        "it is another tokenizer: queries would mean other words",
        AGAIN,
    ),
    "popular-unreadable": Fault(
        "`popular.json` cannot be read", "the gateway has no list when the model does not answer", AGAIN
    ),
    "popular-posts": Fault(
        "`popular.json` names posts that the lookups do not have, or not all, or out of order",
        "degraded answers would be of another night",
        AGAIN,
    ),
    "popular-version": Fault(
        "`popular.json` is of another version than the release", "degraded answers would be of another night", AGAIN
    ),
}

"""The Open Inference Protocol asked by NVIDIA's client, an implementation that is not ours.

    python ask_by_tritonclient.py HTTP_ADDRESS GRPC_ADDRESS MODEL USER ...

Prints, as JSON, the lists of ids that it got in each way, all of which must be the same. A program of its own,
as the client wants another version of protobuf than TensorFlow may have.
"""

import json
import sys

import numpy as np


def main(http_address: str, grpc_address: str, model: str, users: list[str]) -> None:
    import tritonclient.grpc as by_grpc
    import tritonclient.http as by_http

    found = {}
    for name, module, address in (("http", by_http, http_address), ("grpc", by_grpc, grpc_address)):
        client = module.InferenceServerClient(address)
        for is_up in (client.is_server_live(), client.is_server_ready(), client.is_model_ready(model)):
            assert is_up
        for is_binary in (True, False) if name == "http" else (True,):
            found[f"{name}, binary: {is_binary}"] = ask(client, module, name, model, users, is_binary)
        try:
            client.get_model_metadata("nothing")
        except module.InferenceServerException as error:
            found[f"{name}, error"] = str(error)
        client.close()
    print(json.dumps(found))


def ask(client, module, name, model, users, is_binary):
    """Lists of three items without what the user had, in whichever form."""
    form = {"binary_data": is_binary} if name == "http" else {}
    values = np.array([user.encode() for user in users], object)
    user = module.InferInput("user_id", [len(users)], "BYTES")
    user.set_data_from_numpy(values, **form)
    outputs = [module.InferRequestedOutput(key, **form) for key in ("candidate_ids", "scores")]
    answer = client.infer(
        model, [user], outputs=outputs, request_id="7", parameters={"k": 3}, model_version="1"
    )
    raw = answer.get_response(**({} if name == "http" else {"as_json": True}))
    assert raw["id"] == "7"
    assert answer.as_numpy("scores").dtype == np.float32
    ids = answer.as_numpy("candidate_ids").tolist()
    return [[one.decode() if isinstance(one, bytes) else one for one in row] for row in ids]


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])

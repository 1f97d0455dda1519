"""The Datasets service: one line per RPC, all meaning in `core/datasets.py` and its neighbours."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.dataset_inputs import DatasetInputs
from postil.core.dataset_versions import DatasetVersions
from postil.core.datasets import Datasets
from postil.v1 import dataset_service_pb2 as pb


class DatasetsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, datasets: Datasets, inputs: DatasetInputs, versions: DatasetVersions) -> None:
        self._datasets = datasets
        self._inputs = inputs
        self._versions = versions

    def PostDatasets(self, call: Call, request: pb.PostDatasetsRequest) -> Message:
        return self._datasets.post(call, request)

    def GetDataset(self, call: Call, request: pb.GetDatasetRequest) -> Message:
        return self._datasets.get(call, request)

    def ListDatasets(self, call: Call, request: pb.ListDatasetsRequest) -> Message:
        return self._datasets.list(call, request)

    def PatchDatasets(self, call: Call, request: pb.PatchDatasetsRequest) -> Message:
        return self._datasets.patch(call, request)

    def DeleteDatasets(self, call: Call, request: pb.DeleteDatasetsRequest) -> Message:
        return self._datasets.delete(call, request)

    def PostDatasetInputs(self, call: Call, request: pb.PostDatasetInputsRequest) -> Message:
        return self._inputs.post(call, request)

    def GetDatasetInput(self, call: Call, request: pb.GetDatasetInputRequest) -> Message:
        return self._inputs.get(call, request)

    def ListDatasetInputs(self, call: Call, request: pb.ListDatasetInputsRequest) -> Message:
        return self._inputs.list(call, request)

    def DeleteDatasetInputs(self, call: Call, request: pb.DeleteDatasetInputsRequest) -> Message:
        return self._inputs.delete(call, request)

    def PostDatasetVersions(self, call: Call, request: pb.PostDatasetVersionsRequest) -> Message:
        return self._versions.post(call, request)

    def GetDatasetVersion(self, call: Call, request: pb.GetDatasetVersionRequest) -> Message:
        return self._versions.get(call, request)

    def ListDatasetVersions(self, call: Call, request: pb.ListDatasetVersionsRequest) -> Message:
        return self._versions.list(call, request)

    def ListDatasetVersionInputs(self, call: Call, request: pb.ListDatasetVersionInputsRequest) -> Message:
        return self._versions.inputs(call, request)

    def DeleteDatasetVersions(self, call: Call, request: pb.DeleteDatasetVersionsRequest) -> Message:
        return self._versions.delete(call, request)

"""Add jobs: the progress of inputs posted under one inputs_add_job_id."""

from __future__ import annotations

from postil.core import statuses
from postil.store.base import JobRecord
from postil.v1.input_pb2 import InputsAddJob, InputsAddJobProgress
from postil.v1.status_code_pb2 import StatusCode


def job_message(job: JobRecord) -> InputsAddJob:
    """The job as clients poll it: final once nothing is pending or in progress."""
    if job.cancelled:
        code = StatusCode.JOB_CANCELLED
    else:
        code = StatusCode.JOB_RUNNING if job.pending or job.in_progress else StatusCode.JOB_COMPLETED
    message = InputsAddJob(
        id=job.id,
        progress=InputsAddJobProgress(
            pending_count=job.pending,
            in_progress_count=job.in_progress,
            success_count=job.success,
            failed_count=job.failed,
        ),
        status=statuses.status(code),
    )
    message.created_at.FromMicroseconds(job.created_us)
    message.modified_at.FromMicroseconds(job.modified_us)
    return message

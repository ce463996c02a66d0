"""The processes of a command that runs on several hosts: who they are, and when one of them counts as gone."""

from absl import flags

from nafp import errors
from nafp.jobs import coordinators

_COORDINATOR = flags.DEFINE_string("coordinator", None, "Address (host:port) of process 0, for training by several.")
_PROCESSES = flags.DEFINE_integer(
    "processes", 1, "Number of processes, with --coordinator. Without it: of shares of nafp extract.", 1
)
_PROCESS = flags.DEFINE_integer("process", 0, "Number of this process or share, from 0.", 0)
_POD = flags.DEFINE_bool("pod", False, "Join the processes that the environment of a TPU pod, Slurm or GKE describes.")
_HEARTBEAT_S = flags.DEFINE_integer(
    "heartbeat_s", 60, "Seconds without a sign of life after which a process counts as gone, and the others end.", 2
)


def are_several() -> bool:
    """Returns whether this process works together with others."""
    return bool(_POD.value or _COORDINATOR.value)


def share() -> tuple[int, int] | None:
    """Returns (number, of how many) of a share that is worked on without the others, None for all of the work."""
    if not (_PROCESSES.present or _PROCESS.present) or are_several():
        return None
    if _PROCESS.value >= _PROCESSES.value:
        raise errors.Invalid(f"--process={_PROCESS.value}: shares of --processes={_PROCESSES.value} count from 0")
    return _PROCESS.value, _PROCESSES.value


def join() -> None:
    """Joins the other processes, if any. JAX must not have run anything yet."""
    if not are_several():
        return
    if _COORDINATOR.value:
        coordinators.require(_COORDINATOR.value, number=_PROCESS.value, count=_PROCESSES.value)
    import jax

    # The service would keep a SIGTERM from this process until JAX asks for it. Training hears it by itself.
    jax.config.update("jax_enable_preemption_service", False)
    count, mine = (_PROCESSES.value, _PROCESS.value) if _COORDINATOR.value else (None, None)
    try:
        jax.distributed.initialize(
            _COORDINATOR.value,
            num_processes=count,
            process_id=mine,
            heartbeat_timeout_seconds=_HEARTBEAT_S.value,
            shutdown_timeout_seconds=_HEARTBEAT_S.value,
        )
    except ValueError as error:  # How it says that nothing around describes the processes.
        reason = f"--pod: the environment describes no TPU pod, Slurm or GKE ({error})"
        raise errors.Invalid(f"{reason}; name --coordinator, --processes and --process") from error

"""What a launcher knows of the machine: pods, the compilation cache."""

from __future__ import annotations

import os
import pathlib

from absl import flags, logging

from nafp.jobs import threads

_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Several processes: address of process 0, host:port. On TPU pods, Slurm and GKE give --pod instead.",
)
_PROCESSES = flags.DEFINE_integer("processes", 1, "Several processes: how many there are.")
_PROCESS = flags.DEFINE_integer("process", 0, "Several processes: which one this is, from 0.")
_POD = flags.DEFINE_bool("pod", False, "Join the pod that the cluster's environment describes.")


def prepare(*, cpu_shares: int = 1) -> None:
    """Joins the other processes, if any, and keeps compiled programs for the next start.

    cpu_shares: devices that a CPU counts as; XLA_FLAGS, where they say it, go first.
    """
    import jax

    if cpu_shares > 1:
        split_cpu(cpu_shares)
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # orbax tells every file it renames.
    cache = os.environ.get("NAFP_CACHE") or pathlib.Path.home() / ".cache" / "nafp" / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if _POD.value:
        jax.distributed.initialize()
    elif _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, num_processes=_PROCESSES.value, process_id=_PROCESS.value)


def split_cpu(shares: int) -> None:
    """Lets a CPU count as so many devices, before JAX's first operation; what XLA_FLAGS say goes first.

    With jax 0.11 each has one thread: cut into threads, a transform of one waits for another's, on two cores for ever.
    """
    import jax

    given = os.environ.get("XLA_FLAGS", "")
    if jax.__version_info__ >= (0, 11) and "xla_cpu_multi_thread_eigen" not in given:
        os.environ["XLA_FLAGS"] = f"{given} --xla_cpu_multi_thread_eigen=false".strip()
    if "host_platform_device_count" not in given:
        jax.config.update("jax_num_cpu_devices", shares)


def cores() -> int:
    """Counts the cores for this process; 1 among several, whose shares of them are not known here."""
    return 1 if _POD.value or _COORDINATOR.value else threads.n_threads()

"""The devices of a command: the processes of a pod, the shares of a CPU, and the compilation cache."""

from __future__ import annotations

import os

from absl import flags, logging

from nafp.jobs import threads

_COORDINATOR = flags.DEFINE_string("coordinator", None, "Address (host:port) of process 0, for training by several.")
_PROCESSES = flags.DEFINE_integer("processes", 1, "Number of processes, with --coordinator.")
_PROCESS = flags.DEFINE_integer("process", 0, "Number of this process, from 0, with --coordinator.")
_POD = flags.DEFINE_bool("pod", False, "Join the processes that the environment of a TPU pod, Slurm or GKE describes.")


def prepare(*, cpu_shares: int = 1) -> None:
    """Joins the other processes, if any, and lets JAX keep compiled programs for the next start.

    cpu_shares: the number of devices that a CPU counts as, unless XLA_FLAGS sets it.
    """
    import jax

    if cpu_shares > 1:
        split_cpu(cpu_shares)
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # orbax logs every file that it renames.
    keep_compiled()
    if _POD.value:
        jax.distributed.initialize()
    elif _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, num_processes=_PROCESSES.value, process_id=_PROCESS.value)


def keep_compiled() -> None:
    """Lets JAX keep compiled programs in NAFP_CACHE, JAX_COMPILATION_CACHE_DIR or the user's cache folder."""
    import jax
    import platformdirs

    folder = os.environ.get("NAFP_CACHE") or jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", folder or str(platformdirs.user_cache_path("nafp") / "compiled"))
    least_s = jax.config.values["jax_persistent_cache_min_compile_time_secs"]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", min(0.5, least_s))


def split_cpu(shares: int) -> None:
    """Lets a CPU count as `shares` devices, unless XLA_FLAGS sets their number. JAX must not have run anything yet."""
    import jax

    given = os.environ.get("XLA_FLAGS", "")
    # One thread per device: with more, transforms of two devices wait for each other, on two cores for ever.
    if jax.__version_info__ >= (0, 11) and "xla_cpu_multi_thread_eigen" not in given:
        os.environ["XLA_FLAGS"] = f"{given} --xla_cpu_multi_thread_eigen=false".strip()
    if "host_platform_device_count" not in given:
        jax.config.update("jax_num_cpu_devices", shares)


def cores() -> int:
    """Returns the number of cores for this process: 1 if there are several processes, whose shares are not known."""
    return 1 if _POD.value or _COORDINATOR.value else threads.n_threads()

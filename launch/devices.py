"""The devices of a command: the processes of a pod, the shares of a CPU, and the compilation cache."""

from __future__ import annotations

import logging as standard_logging
import os

from absl import flags

from nafp.jobs import threads

from . import processes

flags.adopt_module_key_flags(processes)  # So that --help lists them beside every verb that has devices.


def prepare(*, cpu_shares: int = 1) -> None:
    """Joins the other processes, if any, and lets JAX keep compiled programs for the next start.

    cpu_shares: the number of devices that a CPU counts as, unless XLA_FLAGS sets it.
    """

    if cpu_shares > 1:
        split_cpu(cpu_shares)
    if not flags.FLAGS["verbosity"].present:
        standard_logging.getLogger("absl").setLevel("ERROR")  # orbax logs every file that it renames.
    keep_compiled()
    processes.join()


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
    return 1 if processes.are_several() else threads.n_threads()

"""What every long job needs and no sound knows: progress, whole files, workers, threads, locks.

Imports nothing of nafp but its errors.
"""

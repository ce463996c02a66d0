"""Tools of long jobs that know nothing of sound: progress, whole files, processes, threads, locks, memory.

This room imports nothing of nafp but its errors.
"""

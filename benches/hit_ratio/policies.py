"""Replays a trace through the policies of libCacheSim, and prints what each of them hits.

Takes a trace in the format "oracleGeneral", how many of its requests fill the caches before any counts,
and sizes of caches in bytes. Prints a line for each size and policy: both, and of what counts the share
of the requests and the share of the bytes that were hits. The first line names the version.
"""

import sys

import libcachesim

# Room for so many objects in hash tables, as a power of two, before these grow.
HASH_POWER = 18

# With their own defaults.
POLICIES = {
    "LRU": libcachesim.LRU,
    "S3-FIFO": libcachesim.S3FIFO,
    "W-TinyLFU": libcachesim.WTinyLFU,
    "GDSF": libcachesim.GDSF,
    "SIEVE": libcachesim.Sieve,
    "ARC": libcachesim.ARC,
    "LHD": libcachesim.LHD,
    "Belady": libcachesim.Belady,
    "Belady-size": libcachesim.BeladySize,
}


def main():
    path, filling, sizes = sys.argv[1], int(sys.argv[2]), [int(size) for size in sys.argv[3:]]
    print("version", libcachesim.__version__)
    reader = libcachesim.TraceReader(path, libcachesim.TraceType.ORACLE_GENERAL_TRACE)
    counting = reader.get_num_of_req() - filling
    for size in sizes:
        for name, policy in POLICIES.items():
            cache = policy(size, hashpower=HASH_POWER)
            reader.reset()
            cache.process_trace(reader, 0, filling)
            missed, bytes_missed = cache.process_trace(reader, filling, counting)
            print(size, name, 1 - missed, 1 - bytes_missed, flush=True)


main()

"""Print name and number of entries of each hash map that a process holds."""

import ctypes
import os
import platform
import struct
import sys

SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_MAP_GET_NEXT_KEY, BPF_MAP_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD = 4, 14, 15
# BPF_MAP_TYPE_HASH, _PERCPU_HASH, _LRU_HASH, _LRU_PERCPU_HASH, _LPM_TRIE
HASHES = {1, 5, 9, 10, 11}
# A map that changes meanwhile can repeat keys.
MAX_ENTRIES = 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    return LIBC.syscall(SYS_BPF, command, buffer, len(buffer))


def name_of(fd):
    info = ctypes.create_string_buffer(128)
    bpf(BPF_OBJ_GET_INFO_BY_FD, struct.pack("IIQ", fd, len(info), ctypes.addressof(info)))
    return info.raw[24:40].split(b"\0")[0].decode()


def count(fd, key_size):
    key, following = ctypes.create_string_buffer(key_size), ctypes.create_string_buffer(key_size)
    entries, at = 0, 0
    while entries < MAX_ENTRIES:
        attributes = struct.pack("IIQQ", fd, 0, at, ctypes.addressof(following))
        if bpf(BPF_MAP_GET_NEXT_KEY, attributes) != 0:
            break
        entries += 1
        key.raw, at = following.raw, ctypes.addressof(key)
    return entries


def main():
    directory = f"/proc/{sys.argv[1]}/fdinfo"
    seen = set()
    for entry in os.listdir(directory):
        try:
            with open(f"{directory}/{entry}") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
        except FileNotFoundError:
            continue
        if "map_id" not in fields or int(fields["map_type"]) not in HASHES:
            continue
        number = int(fields["map_id"])
        fd = bpf(BPF_MAP_GET_FD_BY_ID, struct.pack("I", number))
        if number in seen or fd < 0:
            continue
        seen.add(number)
        print(name_of(fd), count(fd, int(fields["key_size"])))
        os.close(fd)


main()

"""Contents: writing, cutting and allocating in many sizes at many places, read back in several ways."""

SIZES = [0, 1, 100, 4095, 4096, 4097, 65536, 131072, 131073, 1000003]


def sizes():
    for size in SIZES:
        print(f"== write-read-{size}")
        for line in (f"put f #1:{size}", "stat f", "cat f", "open a f RDWR", f"pread a 4096 {max(0, size - 10)}",
                     f"pread a 10 {size}", f"pwrite a TAIL {size}", "fstat a", f"pread a 10 {size}", "lseek a 0 END",
                     f"ftruncate a {size // 2}", "fstat a", "read a 10", "cat f", f"ftruncate a {size * 2 + 5000}",
                     "fstat a", "cat f", "preadv2 a 100 50", "preadv2 a 9000 0", f"splice_from a {size // 3} 4096",
                     "open b g RDWR|CREAT", "sendfile a b 0 1G", "cat g", f"copyrange a {size // 4} b 0 1M",
                     "cat g", "fstat b", "fsync b", "fdatasync a"):
            print(line)


def overwrites():
    for size in 4096, 10000, 262144:
        for offset in 0, 1, 4095, 4096, 9999, 500000:
            for count in 1, 4096, 5000:
                print(f"== overwrite-{size}-{offset}-{count}")
                for line in (f"!put f #1:{size}", "open a f RDWR", f"pwrite a #2:{count} {offset}", "fstat a", "stat f",
                             "cat f", f"pread a 100 {max(0, offset - 50)}", "mmap m a 4096 R SHARED",
                             "mload m 0 4096", f"pwrite a #3:{count} 10", "mload m 0 4096", "cat f"):
                    print(line)


MODES = ["0", "KEEP", "PUNCH|KEEP", "ZERO", "ZERO|KEEP", "PUNCH", "UNSHARE", "COLLAPSE", "INSERT"]


def allocation():
    for mode in MODES:
        for offset, count in (0, 4096), (4096, 8192), (100, 200), (60000, 20000), (1048576, 4096), (0, 0), (-1, 10):
            print(f"== fallocate-{mode.replace('|', '+').lower()}-{offset}-{count}")
            for line in ("!put f #1:65536", "open a f RDWR", "mark m f", f"fallocate a {mode} {offset} {count}", "fstat a",
                         "cmp m f", "cat f", "pread a 300 50", "open r f RDONLY", f"fallocate r {mode} {offset} {count}"):
                print(line)


def holes():
    for first in 0, 65536, 1048576:
        print(f"== holes-data-at-{first}")
        for line in ("open a f RDWR|CREAT", f"pwrite a #1:65536 {first}", "ftruncate a 4M", "pwrite a #2:65536 2M", "fsync a",
                     "lseek a 0 DATA", "lseek a 0 HOLE", "lseek a 65536 HOLE", "lseek a 1200000 DATA", "lseek a 2M DATA",
                     "lseek a 2M HOLE", "lseek a 3M DATA", "lseek a 4M DATA", "lseek a 4M HOLE", "lseek a 5M HOLE",
                     "lseek a -1 DATA", "lseek a 100 SET", "lseek a -200 CUR", "lseek a 10 CUR", "lseek a -10 END",
                     "fstat a", "cat f", "fallocate a PUNCH|KEEP 2M 65536", "lseek a 1200000 DATA", "fstat a"):
            print(line)


def direct():
    for offset in 0, 512, 4096, 100:
        for count in 512, 4096, 65536, 100:
            for shift in 0, 512, 1:
                print(f"== direct-{offset}-{count}-{shift}")
                for line in ("!put f #1:200000", "open a f RDWR|DIRECT", "open b f RDWR",
                             f"pread a {count} {offset} {shift}", f"pwrite a #2:{count} {offset} {shift}", "cat f", "fstat a",
                             f"pread b {count} {offset}", f"pwrite b #3:{count} {offset}",
                             f"pread a {count} {offset} {shift}", f"pread a 4096 {196608}", "pread a 4096 204800"):
                    print(line)


sizes()
overwrites()
allocation()
holes()
direct()

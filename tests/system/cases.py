# SPDX-License-Identifier: MIT
"""The system cases: whole machines, booted by scripts/run. What differs between machines lives in
scripts/run, not here."""
import dataclasses
import pathlib
import re
import subprocess
import typing

import conformance

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GUEST = ROOT / "build/guest"
KERNEL = f"{ROOT}/build/cache/kernel/vmlinuz:/EFI/keel/vmlinuz"
INITRD = f"{GUEST}/initrd.cpio:/EFI/keel/initrd"


class Program(typing.NamedTuple):
    """A UEFI program of the build that Keel starts; the machine goes off when it has ended."""
    path: str
    options: str
    more: tuple    # of scripts/run's arguments

    @property
    def name(self):
        return f"/{pathlib.Path(self.path).name}"

    def file(self):
        return ["--add", f"{ROOT}/build/{self.path}:{self.name}"]

    def arguments(self):
        return [*self.file(), "--next", self.name, f"--args={self.options}",
                "--conf", "after=poweroff", *self.more]


class Linux(typing.NamedTuple):
    """A command in Debian's Linux, the management guest: scripts/mgmt-linux."""
    command: str
    more: tuple = ()    # of scripts/mgmt-linux's arguments


class Both(typing.NamedTuple):
    """The same on Linux's own KVM and on Keel: the log ends with what differs in its output."""
    command: str
    more: tuple = ()


class Script(typing.NamedTuple):
    """A program of ours that boots machines itself, and prints what counts."""
    path: str
    more: tuple = ()    # arguments


@dataclasses.dataclass
class Case:
    name: str
    limit: int                 # seconds
    what: typing.Union[list, Program, Linux, Both, Script]  # list: scripts/run's arguments
    expect: list = dataclasses.field(default_factory=list)  # regular expressions, in order
    forbid: list = dataclasses.field(default_factory=list)
    status: int = 0            # scripts/run's or scripts/mgmt-linux's
    machines: tuple = ("qemu-svm",)
    full: tuple = ()           # machines of `make test-full` alone: too long for `make test`
    by_hand: tuple = ()        # machines of `make test-matrix` alone: long, or not settled there
    quick: bool = False        # on qemu-svm also in `make test-quick`
    alone: bool = False        # its program does not come back: no other shares its boot

    def seconds(self, machine):
        """Its time limit there."""
        return self.limit * (BOCHS_SLOWER if machine.startswith("bochs") else 1)

    def boot(self, machine):
        """Cases of the same value share a boot: programs with the same options for scripts/run,
        where a boot is slow."""
        if machine.startswith("qemu") or self.alone or not isinstance(self.what, Program):
            return machine, self.name
        return machine, self.what.more

    def judge(self, text, status):
        """What is wrong with the log, or None."""
        if status != self.status:
            return f"exit status {status}, {self.status} expected"
        position = 0
        for pattern in self.expect:
            found = re.compile(pattern, re.M).search(text, position)
            if not found:
                return f"the log lacks, or has out of order: {pattern}"
            position = found.end()
        for pattern in self.forbid:
            if re.search(pattern, text, re.M):
                return f"the log has: {pattern}"
        return None


def launch_both(machine, limit, what, work):
    runs = [launch(machine, limit // 2, Linux(what.command, (*what.more, *way)), work)
            for way in (("--host-kvm",), ())]
    # mgmt-linux shows the output alone once more when the machine is off.
    outputs = [text.rpartition("mgmt-linux: ended with status")[2] for _, text in runs]
    return max(status for status, _ in runs), "\n".join([*(text for _, text in runs),
                                                         conformance.summary(*outputs)])


def launch(machine, limit, what, work):
    """(exit status, log)"""
    if isinstance(what, Both):
        return launch_both(machine, limit, what, work)
    log = work / "log"
    command = ["--machine", machine, "--timeout", str(limit)]
    if isinstance(what, Script):
        command = [ROOT / what.path, *command, *what.more]
    elif isinstance(what, Linux):
        command = [ROOT / "scripts/mgmt-linux", *command, "--log", log, "--exec", what.command, *what.more]
    else:
        command = [ROOT / "scripts/run", *command, "--log", log, "--quiet", *what]
    p = subprocess.run([str(c) for c in command], cwd=ROOT, stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                       timeout=limit + 60)
    text = log.read_text(errors="replace") if log.exists() else ""
    return p.returncode, text + "\n" + p.stdout.decode(errors="replace")


def run(cases, machine, work):
    """Runs cases of one boot. One (case, problem or None, log) after the other."""
    limit = sum(case.seconds(machine) for case in cases)
    if len(cases) == 1:
        what = cases[0].what
        status, text = launch(machine, limit,
                              what.arguments() if isinstance(what, Program) else what, work)
        yield cases[0], cases[0].judge(text, status), text
        return
    programs = [case.what for case in cases]
    (work / "list").write_text("".join(f"{p.name} {p.options}\n" for p in programs))
    batch = Program("system/batch.efi", "",
                    ("--add", f"{work}/list:/batch.txt",
                     *sum((Program(p, "", ()).file() for p in {p.path: 0 for p in programs}), []),
                     *programs[0].more))
    status, text = launch(machine, limit, batch.arguments(), work)
    start, *parts = re.split(r"^(?=batch: starting )", text, flags=re.M)
    for i, case in enumerate(cases):
        part = parts[i] if i < len(parts) else "(never started)\n"
        ended = re.search(r"^batch: \S+ ended( with EFI error)?", part, re.M)
        yield case, (case.judge(start + part, 1 if ended[1] else 0) if ended else
                     f"no end; the boot's exit status is {status}"), start + part


# Bochs emulates some 3 million instructions a second, QEMU 50 to 100 million.
BOCHS_SLOWER = 4
SMOKE = ("qemu-svm", "bochs-vmx", "bochs-svm", "bochs-vmx:corei7_sandy_bridge_2600k",
         "bochs-vmx:tigerlake")
BOTH = ("qemu-svm", "bochs-vmx")
VMX = ("bochs-vmx",)
QEMU = ("qemu-svm",)
# What Bochs 2.7's SVM gets wrong: docs/architecture.md, "Bochs"
NOT_ON_BOCHS_SVM = ("debug", "nmi", "delivery", "triple")
LINUX_KVM = ("--host-kvm", "--smp", "1", "--memory", "1024")


def guests_but(*names):
    return " ".join(sorted({p.stem for p in (ROOT / "tests/guests").glob("*.asm")} - set(names)))


def tour(*kinds):
    """Patterns for the lines that docs/tour.md quotes in blocks of these kinds; ... is anything."""
    text = (ROOT / "docs/tour.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    return ["^" + re.escape(line).replace(re.escape("..."), ".*") + "$"
            for kind, block in blocks if kind in kinds for line in block.splitlines()]


def modules(*names):
    return tuple(word for name in names for word in ("--module", name))


# Compressed memory to swap to
SWAP = ("for m in zsmalloc lzo lzo-rle zram; do insmod /lib/modules/$m.ko; done; "
        "echo 512M >/sys/block/zram0/disksize; mkswap /dev/zram0; swapon /dev/zram0; ")
# And one to hold a file system
DISK = ("cat /sys/class/zram-control/hot_add; echo 64M >/sys/block/zram1/disksize; mke2fs -b 4096 /dev/zram1 "
        ">/dev/null; mkdir -p /mnt; mount -t ext4 /dev/zram1 /mnt && ")
SWAPPING = ("--memory", "1024", *modules("zsmalloc", "lzo", "lzo-rle", "zram"))
CGROUP = "mkdir -p /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; "
UNLOADED = "; rmmod keel && echo unloaded"
QEMU_LINUX = [r"Keel guest: Linux", r"SELFTEST passed", r"^QEMU ended: 0$"]
WITH_QEMU = ("--with-qemu", "--memory", "3072")
CONFORMANCE = "conformance; a=$?; replay; b=$?; exit $((a + b))"
# With several CPUs Bochs' time passes slowly while all of them sleep.
ONE_CPU = ("--smp", "1")
# What of XSAVE Debian's kernel takes from Bochs: docs/architecture.md, "Bochs"
PLAIN_XSAVE = ("--append", "clearcpuid=xsavec,xsaves")
CONFORMS = [r"^CONFORMANCE 1[5-9]\d\d checks, 0 wrong", r"^REPLAY 7 passed, 0 failed"]
OVERLAY = ("--overlay", f"{ROOT}/tests/system/overlay")
# keelrun and its guests in the management image; tests/system/overlay/bin/keelrun-tests says how they end.
KEELRUN = ("--with-guest", "--overlay", f"{ROOT}/build/guests/jobs", *OVERLAY, "--memory", "1536")
REFUSED = [rf"^keelrun: {what}\nkeelrun: guest status {status}\nrefused: {status}$" for what, status in
           ((r"/none: No such file or directory", 3), (r"/init: not a Linux bzImage: .*", 3),
            (r"/tmp/truncated: truncated kernel: 1048576 bytes of \d+", 3),
            (r"/tmp/corrupt: corrupt kernel: its payload .*", 3),
            (r"/boot/vmlinuz: too little memory: .* more than \d+ MiB, the guest has 8", 3),
            (r"unknown option '--frobnicate'", 2))]
SAMPLES = [r"features: passed", r"invalid: exit 9, reason [0-9a-f]+: passed"]
STOPPED = [r"^keelrun: stopped at the console", r"^keelrun: guest status 3\nstopped: 3"]
SHARES = [r"8 vCPUs: the least had \d+ %, the most \d+ %", r"^SHARES passed", r"^keelrun: guest status 0\nshares: 0"]
LINUX_CHILD = [r"2 vCPUs on 2 CPUs, 512 MiB", r"^got key", r"AVX kept: RDMSR +ok", r"SELFTEST passed",
               r"^keelrun: the guest powered off"]
VECTORS_KEPT = [r"YMM and MXCSR of the management guest: [1-9]\d{3,} runs, 0 wrong",
                r"^keelrun: guest status 0\nlinux: 0"]
OOPS = [r"\bWARNING: |\bBUG: |Call Trace:"] # what Linux says of itself



def qemu(options):
    """The shell's line that starts Debian's QEMU, unmodified, in the management guest."""
    return ("qemu-system-x86_64 -accel kvm -cpu host -display none -nodefaults -no-reboot -serial stdio"
            f' {options}; echo "QEMU ended: $?"')


def qemu_linux(machine, line="keel.test=2,100,100"):
    """With Debian's kernel as its guest. machine: -M and more; the memory is 256 MiB unless it says."""
    return qemu(f"-m 256 {machine} -kernel /boot/vmlinuz -initrd /boot/initrd"
                f' -append "console=ttyS0 quiet {line}"')


# It ends a guest of tests/guests/boot: with status 1 (0 written) when the guest is content.
EXIT = "-device isa-debug-exit,iobase=0xf4,iosize=4"
CASES = []

MAIN_JOB = [r"keel: launched: 2 CPUs are in guest mode", r"2 vCPUs on 2 CPUs, 512 MiB",
            r"AVX kept: RDMSR +ok", r"SELFTEST passed", r"the guest powered off", r"exits by reason",
            r"YMM and MXCSR of the management guest: [1-9]\d{4,} runs, 0 wrong",
            r"keelrun: guest status 0"]


def linux_child(options, line):
    """scripts/run's arguments for Debian's kernel in a child."""
    return ["--add", KERNEL, "--add", INITRD, "--next", r"\EFI\keel\keelrun.efi", "--args",
            rf"-k \EFI\keel\vmlinuz -i \EFI\keel\initrd {options} --poweroff -p "
            f'"console=ttyS0 tsc=reliable clocksource=tsc mitigations=off quiet {line}"']


def spinning_vcpus(count, slices):
    """tests/guests/jobs/shares.asm in keelrun; slices: how many a vCPU may wait, or nothing."""
    return ["--add", f"{ROOT}/build/guests/jobs/shares.bin:/shares", "--next", r"\EFI\keel\keelrun.efi",
            "--args", rf'-k \shares -m 64 -c {count} --poweroff -p "{slices}"']


def efi(path, options="", *more):
    return Program(path, options, more)


def machine_check(word, cpu, status, global_status):
    """QEMU raises one when tests/kvm/uefi/mce.c asks for that."""
    return ["--monitor", f"{word}, please=mce {cpu} 1 {status:#x} {global_status} 0x12345000 0x8c"]


def uki(*more):
    return ["--add", f"{GUEST}/linux.efi:/linux.efi", "--next", "/linux.efi", *more]


CASES += [
    Case("main job: Linux in a child, 2 vCPUs, self-test", 240, [], MAIN_JOB, machines=BOTH,
         quick=True),
    Case("main job with every VMCB checked before entry", 400,
         linux_child("-m 512 -c 2", "keel.test=2,400,500") + ["--conf", "check=entry"],
         [r"SELFTEST passed", r"keelrun: guest status 0"], forbid=[r"check=entry:"],
         machines=BOTH),
    Case("main job without optional hardware features", 300,
         linux_child("-m 512 -c 1", "keel.test=1,400,500") +
         ["--conf", "hw-off=next-rip,decode-assists,flush-by-asid,clean-bits,slat-1g,vpid,"
          "tpr-shadow,invpcid,rdtscp,xsaves,preemption-timer,pml,tsc-scaling,pause-filter,"
          "slat-2m,virtual-nmi,slat-ad"],
         [r"SELFTEST passed", r"keelrun: guest status 0"], machines=BOTH),
    Case("Linux in a child, 8 vCPUs on 2 CPUs", 400,
         linux_child("-m 512 -c 8", "keel.test=8,400,100"),
         [r"8 vCPUs on 2 CPUs", r"SELFTEST passed", r"keelrun: guest status 0"], machines=BOTH),
    Case("keelrun -c 8 on 2 CPUs: each vCPU has 50 to 200 % of its share", 120,
         spinning_vcpus(8, ""), [r"8 vCPUs: the least had \d+ %, the most \d+ %", r"^SHARES passed",
                                 r"keelrun: guest status 0"]),
    Case("keelrun: a vCPU that spins with interrupts off delays another by a slice", 240,
         [*spinning_vcpus(2, "1"), "--smp", "1", "--icount"],
         [r"2 vCPUs: .*the longest wait was \d+ us", r"^SHARES passed", r"keelrun: guest status 0"]),
    Case("Linux in a child, memory above 4 GiB", 400,
         linux_child("-m 4600 -c 1", "keel.test=1,4000,100") + ["--memory", "6144"],
         [r"4600 MiB", r"SELFTEST passed", r"keelrun: guest status 0"], by_hand=VMX),
    Case("Linux as the management guest, CPU offline and online", 240, uki(),
         [r"keel: launched: 2 CPUs", r"Keel guest: Linux", r"SELFTEST passed", r"Architecture: +x86_64",
          r"HOTPLUG passed"],
         forbid=[r"HOTPLUG failed"], machines=BOTH, quick=True),
    Case("Linux as the management guest resets the machine", 120,
         uki("--args", "console=ttyS0 tsc=reliable clocksource=tsc quiet keel.run=reboot_-f",
             "--conf", "serial=0x3f8"),
         [r"keel: launched: 2 CPUs", r"Keel guest: Linux", r"reboot: Restarting system",
          r"^run: the machine was reset"], forbid=[r"triple fault"], status=1),
    Case("Linux as the management guest with 512 MiB: CPUs wait in the firmware's reserved memory", 120,
         Linux("grep -c ^processor /proc/cpuinfo; hello64", ("--memory", "512")),
         [r"^2$", r"hello64: passed"], forbid=OOPS),
    Case("Linux's /dev/kvm from keel.ko: the KVM samples", 120,
         # A CPU that is offline flushes for Keel all the same.
         Linux("cpu=/sys/devices/system/cpu/cpu1/online; echo 0 >$cpu; adder; echo offline: $?; echo 1 >$cpu; "
               "adder && flat32 && hello64 && cat /sys/module/keel/parameters/frames && rmmod keel && "
               "echo unloaded", ("--memory", "1024")),
         [r"adder: passed", r"^offline: 0", r"adder: passed", r"flat32: passed", r"Hello from long mode!", r"hello64: passed",
          r"^donated 0 mapped 0$", r"^unloaded"], forbid=OOPS, machines=BOTH, quick=True),
    Case("Linux's /dev/kvm from keel.ko: what the driver does by itself, for 64 and 32 bits", 120,
         Linux("driver; driver32; cat /sys/module/keel/parameters/frames; rmmod keel && echo unloaded",
               ("--memory", "1024")),
         [r"DRIVER passed", r"DRIVER passed", r"^donated 0 mapped 0$", r"^unloaded"],
         forbid=[r"^FAIL", *OOPS]),
    Case("Linux's /dev/kvm from keel.ko: what the driver does by itself, in short, on one CPU", 100,
         Linux("driver short; cat /sys/module/keel/parameters/frames", ("--memory", "1024", *ONE_CPU)),
         [r"DRIVER passed", r"^donated 0 mapped 0$"], forbid=[r"^FAIL", *OOPS], machines=VMX),
    Case("The conformance program and seven VMMs' calls: Linux's KVM and keel.ko answer alike", 300,
         Both(CONFORMANCE), [*CONFORMS, r"^COMPARED 1[5-9]\d\d lines, 0 problems"], forbid=OOPS),
    Case("The conformance program and seven VMMs' calls, on one CPU: Linux's KVM and keel.ko answer alike", 300,
         Both(CONFORMANCE, (*ONE_CPU, *PLAIN_XSAVE)),
         [*CONFORMS, r"^COMPARED 1[5-9]\d\d lines, 0 problems"], forbid=OOPS, machines=VMX),
    Case("Linux's /dev/kvm from keel.ko: no sleep, no unloading while it is used", 120,
         Linux("kexec; dmesg | grep -c 'cannot sleep'; driver >/dev/null & sleep 1; rmmod keel || echo busy; wait; "
               "cat /sys/module/keel/parameters/frames; rmmod keel && echo unloaded", ("--memory", "1024")),
         [r"sleep: 3 of 3 refused", r"^[23]$", r"^busy", r"^donated 0 mapped 0$", r"^unloaded"],
         forbid=OOPS),
    Case("Linux's /dev/kvm from keel.ko: kexec while guests run", 180,
         Linux("kexec /boot/vmlinuz /boot/initrd "
               "'console=ttyS0 tsc=reliable clocksource=tsc quiet keel.test=2,200,100'",
               ("--with-qemu", "--memory", "1024")),
         [r"kexec: two guests run", r"a guest's run ended: Input/output error", r"Keel guest: Linux",
          r"2 CPUs, ", r"SELFTEST passed"],
         forbid=[*OOPS, r"KEEL PANIC"], status=125),
    Case("Linux's /dev/kvm from keel.ko: the machine restarts while guests run", 120,
         Linux("driver >/dev/null & sleep 1; reboot -f", ("--memory", "1024", "--conf", "serial=0x3f8")),
         [r"reboot: Restarting system", r"^run: the machine was reset"],
         forbid=[*OOPS, r"triple fault"], status=125),
    Case("Linux's /dev/kvm from keel.ko: bare-metal guests", 120, Linux("guests; dmesg -c | tail -20"),
         [r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL", *OOPS]),
    Case("Linux's own KVM: bare-metal guests", 180, Linux("guests", LINUX_KVM),
         [r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL"]),
    # Named, so without the steps: Bochs' VMX gets the first one wrong (docs/architecture.md).
    Case("Linux's own KVM: bare-metal guests, named", 180,
         Linux(f"guests {guests_but()}", LINUX_KVM),
         [r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL"], machines=(), full=VMX),
    Case("Linux's /dev/kvm from keel.ko: guest memory swapped, merged, replaced", 180,
         Linux(SWAP + DISK + "memory swap /mnt/guest", SWAPPING),
         [r"KSM merges", r"swap: most of it is out", r"disk: has", r"MEMORY passed"], forbid=[r"^FAIL", *OOPS]),
    Case("Linux's /dev/kvm from keel.ko: 200 VMMs killed at every moment of a VM's life", 180,
         Linux("kills 200" + UNLOADED, ("--memory", "1024")),
         [r"^killed 200, 200 left nothing", r"KILLS passed", r"^unloaded"], forbid=OOPS),
    Case("Linux's /dev/kvm from keel.ko: 14 VMMs killed, on one CPU", 100,
         Linux("kills 14" + UNLOADED, ("--memory", "1024", *ONE_CPU)),
         [r"^killed 14, 14 left nothing", r"KILLS passed", r"^unloaded"], forbid=OOPS, machines=(),
         full=VMX),
    Case("Linux's /dev/kvm from keel.ko: no write is lost while memory is swapped, moved, discarded", 180,
         Linux(SWAP + "stress 20; cat /sys/module/keel/parameters/frames" + UNLOADED, SWAPPING),
         [r"STRESS passed: 0 words wrong", r"^donated 0 mapped 0$", r"^unloaded"], forbid=OOPS),
    Case("Linux's /dev/kvm from keel.ko: twice as much guest memory as its VMM may have", 300,
         Linux(SWAP + CGROUP + "pressure overcommit && pressure hot", SWAPPING),
         [r"each time", r"PRESSURE passed", r"what the guest uses stays", r"PRESSURE passed"],
         forbid=[r"^FAIL", *OOPS]),
    Case("Linux's /dev/kvm from keel.ko: Linux looks at what a guest uses", 120,
         Linux(SWAP + "pressure looks", SWAPPING),
         [r"no look unmapped", r"PRESSURE passed"], forbid=[r"^FAIL", *OOPS], by_hand=VMX),
    Case("Linux's /dev/kvm from keel.ko: the same without accessed flags", 120,
         Linux(SWAP + "pressure looks-unmap", (*SWAPPING, "--conf", "hw-off=slat-ad")),
         [r"each look unmapped", r"PRESSURE passed"], forbid=[r"^FAIL", *OOPS]),
    Case("Linux's /dev/kvm from keel.ko: a VM is in its VMM's control group", 120,
         Linux(CGROUP + "limits", ("--memory", "1024")),
         [r"LIMITS passed"], forbid=[r"^FAIL", *OOPS]),
    Case("keelrun under Linux on keel.ko: Linux in a child, 8 vCPUs' shares, what it refuses; KVM samples", 240,
         Linux("keelrun-tests refused stopped shares linux; features && invalid; rmmod keel; "
               "keelrun -k /boot/vmlinuz", KEELRUN),
         [*REFUSED, *STOPPED, *SHARES, *LINUX_CHILD, r"exits by reason", r"^all +\d{5}", *VECTORS_KEPT, *SAMPLES,
          r"^keelrun: /dev/kvm: No such file or directory"],
         forbid=[r"^FAIL", *OOPS], status=3),
    # With a Linux as its guest Linux's KVM meets QEMU's double delivery: docs/architecture.md, "QEMU", EVENTINJ.
    Case("keelrun under Linux on Linux's own KVM: 8 vCPUs' shares, what it refuses; KVM samples", 120,
         Linux("keelrun-tests refused stopped shares; features && invalid", (*KEELRUN, "--host-kvm")),
         [*REFUSED, *STOPPED, *SHARES, *SAMPLES], forbid=[r"^FAIL", *OOPS]),
    # Bochs had come to the second in the 720 s of a loaded host.
    Case("keelrun under Linux on keel.ko: what it refuses, Ctrl-]", 300,
         Linux("keelrun-tests refused stopped", KEELRUN), [*REFUSED, *STOPPED], forbid=OOPS, machines=(),
         by_hand=VMX),
    Case("run-linux: Debian's QEMU on keel.ko, q35, BIOS, virtio disk and network, Linux", 240,
         Script("scripts/run-linux"),
         [r"keel: launched: 2 CPUs", r"run-linux: the file: (\w+)[\s\S]*SELFTEST passed"
          r"[\s\S]*VIRTIO net \1[\s\S]*VIRTIO written", r"exits by reason", r"^all +\d{5}",
          r"^run-linux: QEMU ended with status 0", r"^run-linux: passed"], forbid=OOPS),
    Case("Debian's QEMU on keel.ko: microvm, a firmware of our own", 120,
         Linux(qemu(f"-M microvm -m 64 -bios /boot/firmware.bin {EXIT}"), ("--with-qemu", "--memory", "1024")),
         [r"a guest of Keel's own under KVMKVMKVM", r"^firmware: passed", r"^QEMU ended: 1$"], forbid=OOPS,
         machines=BOTH),
    Case("Debian's QEMU on keel.ko: pc, SeaBIOS, a boot sector of our own", 120,
         Linux(qemu(f"-M pc -m 64 -drive file=/boot/sector.bin,format=raw,if=virtio {EXIT}"), WITH_QEMU),
         [r"^sector: started", r"^sector: the second one was read", r"^sector: passed", r"^QEMU ended: 1$"],
         forbid=OOPS),
    Case("Debian's QEMU on keel.ko: microvm, split irqchip, Linux", 180,
         Linux(qemu_linux("-M microvm,rtc=on", "keel.test=1,100,100"), WITH_QEMU), QEMU_LINUX, forbid=OOPS),
    Case("Debian's QEMU on keel.ko: pc, irqchip in the kernel, Linux", 180,
         Linux(qemu_linux("-M pc,kernel-irqchip=on -smp 2"), WITH_QEMU), QEMU_LINUX, forbid=OOPS),
    *(Case(f"Debian's QEMU on keel.ko: {machine}, {firmware}, each irqchip, 2 and 4 vCPUs on 2 CPUs, Linux", 400,
           Linux(f"matrix {machine} {firmware}", (*WITH_QEMU, *OVERLAY)),
           [rf"^matrix: {machine} {firmware} {irqchip} -smp {cpus}: passed"
            for irqchip in ("on", "split") for cpus in (2, 4)], forbid=OOPS, machines=(), full=QEMU)
      for machine, firmware in (("pc", "SeaBIOS"), ("pc", "OVMF"), ("q35", "SeaBIOS"), ("q35", "OVMF"),
                                ("microvm", "SeaBIOS"))),
    # More than the machine has: what the guest does not touch costs nothing.
    Case("Debian's QEMU on keel.ko: memory above 4 GiB, Linux", 180,
         Linux("echo 1 >/proc/sys/vm/overcommit_memory; " +
               qemu_linux("-M pc -m 5120", "keel.test=1,4600,20"), WITH_QEMU),
         QEMU_LINUX, forbid=OOPS, machines=(), full=QEMU),
    Case("Debian's QEMU on keel.ko: 2 MiB huge pages (hugetlbfs), Linux", 180,
         Linux("echo 128 >/proc/sys/vm/nr_hugepages; mkdir /huge; mount -t hugetlbfs none /huge; " +
               qemu_linux("-M pc -mem-path /huge -mem-prealloc", "keel.test=1,100,20") +
               "; grep HugePages /proc/meminfo", WITH_QEMU),
         [*QEMU_LINUX, r"HugePages_Total: +128\nHugePages_Free: +128$"], forbid=OOPS, machines=(), full=QEMU),
    Case("Debian's QEMU on keel.ko: guests restart by port, keyboard, triple fault, monitor", 400,
         Linux("restarts", (*WITH_QEMU, *OVERLAY)),
         [rf"^restart by {how}: 2 boots" for how in
          ("port", "keyboard", "triple", "system_reset")], forbid=OOPS, machines=(), full=QEMU),
    Case("Debian's QEMU on keel.ko: CPU models miss what they miss on Linux's KVM", 120,
         Script("tests/system/models"),
         [r"^models: 1\d\d compared, 0 differ; the lines of check and enforce are the same"]),
    Case("Debian's QEMU on keel.ko: a desktop's devices, Debian's ordinary kernel", 400,
         Script("tests/system/desktop"), [r"KEEL screen \d+ x86_64", r"^desktop: passed"],
         machines=(), full=QEMU),
    Case("Debian's QEMU on keel.ko: a desktop's devices, Debian's 32-bit kernel", 400,
         Script("tests/system/desktop", ("--32",)), [r"KEEL screen \d+ i686", r"^desktop: passed"],
         machines=(), full=QEMU),
    Case("gVisor's runsc on keel.ko: sandboxes of its KVM platform", 180,
         Linux("sandbox", ("--program", "runsc", *OVERLAY)),
         [r"^sandbox: status 0", r"^sandbox: the same inside and outside", *[r"^#1 SMP"] * 2, r"^donated 0 mapped 0$"],
         forbid=OOPS),
    # Two alike have a half each, nice 5 is a weight of 335 to 1024, the quota is 30 %.
    Case("Debian's QEMU on keel.ko: vCPU threads with taskset, nice and a quota", 180,
         Linux("shares", (*WITH_QEMU, *OVERLAY)),
         [r"^share: equal: (4[5-9]|5[0-5]) and (4[5-9]|5[0-5])", r"^share: guest time: (9\d|100)$",
          r"^share: nice: 7\d and 2\d", r"^share: quota: \d\d and (2[89]|3[0-2])$"], forbid=OOPS),
    Case("bare-metal guests", 240, efi("kvm/guests.efi"),
         [r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL"], machines=BOTH, by_hand=SMOKE[3:],
         quick=True),
    Case("bare-metal guests without each optional feature, and without all", 400,
         efi("kvm/guests.efi", "sets"),
         [r"== without features", r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL"], by_hand=VMX),
    # ports makes 390,000 exits each time, more than all others.
    Case("bare-metal guests but ports without each optional feature, and without all", 200,
         efi("kvm/guests.efi", f"sets {guests_but('ports')}"),
         [r"== without features", r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL"], machines=VMX),
    Case("bare-metal guests, every VMCB checked", 400,
         efi("kvm/guests.efi", "", "--conf", "check=entry"),
         [r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL", r"check=entry:"], by_hand=VMX),
    Case("bare-metal guests but ports", 100, efi("kvm/guests.efi", guests_but("ports")),
         [r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL"], machines=SMOKE[3:]),
    Case("bare-metal guests but ports, every VMCB checked", 100,
         efi("kvm/guests.efi", guests_but("ports"), "--conf", "check=entry"),
         [r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL", r"check=entry:"], machines=VMX),
    Case(f"bare-metal guests but {', '.join(NOT_ON_BOCHS_SVM)}, where Bochs' SVM errs", 60,
         efi("kvm/guests.efi", guests_but(*NOT_ON_BOCHS_SVM)),
         [r"GUESTS \d+ passed, 0 failed"], forbid=[r"^FAIL"], machines=("bochs-svm",)),
    Case("the processor refuses what the manual's entry rules refuse", 60,
         efi("kvm/guests.efi", "insn msrs", "--keel", f"{ROOT}/build/rules/keel.efi",
             "--conf", "serial=0x3f8"),
         [r"rules: the processor refused (\d\d) of \1$", r"GUESTS \d+ passed, 0 failed"],
         forbid=[r"rules: .*(took it|are broken)"], machines=("bochs-vmx", "bochs-svm")),
    Case("two children, one killed 50 times", 400, efi("kvm/uefi/load.efi", "kill"),
         [r"50 kills", r"LOAD passed"], machines=BOTH),
    # Bochs 2.7 on VMX does not end the run of a child that was entered with IF clear and stays so
    # when an external interrupt comes: the next two stand still there.
    Case("eight children share two CPUs", 240, efi("kvm/uefi/load.efi", "share"),
         [r"LOAD passed"]),
    Case("a child with interrupts off delays others by a slice", 240,
         efi("kvm/uefi/load.efi", "gap", "--smp", "1", "--icount"), [r"LOAD passed"]),
    Case("a child's timer is on time", 240,
         efi("kvm/uefi/load.efi", "late", "--smp", "1", "--icount"), [r"LOAD passed"],
         machines=BOTH),
    Case("100,000 short timers, none lost or doubled", 240, efi("kvm/uefi/load.efi", "many"),
         [r"LOAD passed"]),
    Case("KVM sample: real-mode adder", 120, efi("kvm/adder.efi"), [r"adder.efi ended$"],
         machines=BOTH),
    Case("KVM sample: flat 32-bit, irqchip, console port", 120, efi("kvm/flat32.efi"),
         [r"flat32.efi ended$"], machines=BOTH),
    Case("registers in kvm_run, MSRs that the VMM answers, a TSC offset, HLT without an exit", 120,
         efi("kvm/features.efi"), [r"features: passed"], forbid=[r"^FAIL"], machines=BOTH),
    Case("KVM sample: long-mode hello", 120, efi("kvm/hello64.efi"),
         [r"hello64.efi ended$"], machines=SMOKE, quick=True),
    Case("an entry that fails is explained in the log", 60,
         efi("kvm/invalid.efi", "", "--conf", "serial=0x3f8"),
         [r"CS must (not have both L and D set in long mode|have D 0 with L in IA-32e mode)",
          r"VMC[BS] at |exit code|GUEST_CS|CS +0008", r"invalid: exit 9, reason [0-9a-f]+: passed"],
         machines=BOTH),
    Case("which pages a guest has used", 60, efi("kvm/uefi/young.efi"),
         [r"4 KiB, with accessed flags", r"young: passed"], forbid=[r"^FAIL"], machines=BOTH),
    Case("threads of libkeel on both CPUs", 240, efi("kvm/uefi/threads.efi"),
         [r"threads: passed"], machines=BOTH),
    Case("libkeel keeps a firmware's own tick on the timer that it uses", 60,
         ["--without-keel", *Program("kvm/uefi/tick.efi", "", ()).file(), "--next", "/tick.efi"],
         [r"\d+ ticks of 10 ms", r"^tick: passed"]),
    Case("a page fault in root prints the dump", 120, ["--conf", "test=root-pf"],
         [r"KEEL PANIC"], status=2, machines=BOTH),
    Case("a double fault in root prints the dump", 120, ["--conf", "test=root-df"],
         [r"KEEL PANIC"], status=2, machines=BOTH),
    Case("an NMI prints the last exits, and is the management guest's all the same", 120,
         efi("kvm/uefi/trace.efi", "nmi", "--conf", "serial=0x3f8", "--conf", "nmi=dump"),
         # It hits the guest or, behind the exit of the ICR's write, root.
         [r"keel: the last exits, oldest first", r"cpu 0 tsc \d+ vm 0 vcpu 0 (nmi|slat) ",
          r"trace: 1 NMIs"], machines=BOTH),
    Case("machine checks while a child runs are the management guest's, and the child goes on", 60,
         efi("kvm/uefi/mce.efi", "child", "--conf", "serial=0x3f8", "--keel", f"{ROOT}/build/mce/keel.efi",
             *machine_check("corrected", 0, 0x9C << 56, 0), *machine_check("recoverable", 0, 0xBD8 << 52, 5),
             *machine_check("fatal", 0, 0xBE << 56, 4)),
         [r"\A(?=[\s\S]*root's state is the same after 200 exits)", # tests/root/host_state.h; anywhere
          r"corrected: bank 9c0{14}, MCG_STATUS 0, 0 taken", r"recoverable: bank bd80{13}, MCG_STATUS 5, 1 taken",
          r"fatal: bank be0{14}, MCG_STATUS 4, 2 taken", r"the child went on; 2 of its runs ended with one",
          r"mce.efi ended$"]),
    Case("a machine check in root is logged, and that CPU works on", 60,
         efi("kvm/uefi/mce.efi", "root", "--conf", "serial=0x3f8", *machine_check("CPU 1", 1, 0xBD8 << 52, 5)),
         [r"machine check in root: bank 1 status bd80{13}", r"CPU 1 works again", r"mce.efi ended$"]),
    Case("a machine check in root that corrupts the processor's context is a panic", 60,
         efi("kvm/uefi/mce.efi", "root", "--conf", "serial=0x3f8", *machine_check("CPU 1", 1, 0xBE << 56, 4)),
         [r"machine check in root: bank 1 status be0{14}", r"KEEL PANIC on CPU 1: exception 18"], status=2),
    # On SVM the processor itself combines the MTRRs with the nested tables.
    Case("the management guest rewrites an MTRR", 60,
         efi("kvm/uefi/mtrr.efi", "", "--conf", "serial=0x3f8"),
         [r"mtrr: \S+ is uncachable and back, 0 bytes are wrong"]),
    Case("the management guest rewrites an MTRR: EPT's memory types follow", 60,
         efi("kvm/uefi/mtrr.efi", "", "--conf", "serial=0x3f8", "--conf", "nmi=dump"),
         [*[r"^keel: management guest: memory types follow its MTRRs$"] * 2,
          r"mtrr: \S+ is uncachable and back, 0 bytes are wrong"], machines=VMX),
    Case("a triple fault of the management guest prints the last exits", 120,
         efi("kvm/uefi/trace.efi", "triple", "--conf", "serial=0x3f8"),
         [r"triple fault: the machine is reset", r"VMC[BS] at ", r"keel: the last exits",
          r"vm 0 vcpu 0 triple fault"], status=1, machines=BOTH, alone=True),
    Case("check reports on the machine and launches nothing", 60,
         ["--conf", "check=machine", "--conf", "after=poweroff"],
         [r"nothing is launched", r"^RAM: \d+ MiB", r"^Keel would reserve \d+ KiB",
          r"^(SVM revision \d|IA32_VMX_BASIC)", r"^MTRRs: \d+ variable",
          r"^CPU 0 can run Keel by (SVM|VMX)", r"^CPU 1 offers the same as CPU 0",
          r"^result: Keel can be launched here", r"this text is in .*check.txt"],
         forbid=[r"in guest mode"], machines=SMOKE, quick=True),
    Case("check names what is missing", 60,
         ["--lack", "nested-paging", "--conf", "check=machine", "--conf", "after=poweroff"],
         [r"(NP +NO, BUT REQUIRED|BUT REQUIRED: EPT)",
          r"CPU 0 cannot run Keel: (SVM has no nested paging|VMX )",
          r"CPU 1 cannot run Keel", r"^result: Keel cannot be launched here"], machines=BOTH),
    Case("check as a load option, where Keel runs already", 60, efi("keel.efi", "check"),
         [r"2 CPUs are in guest mode", r"nothing is launched", r"result: Keel runs already"],
         machines=BOTH, alone=True),
    Case("log=teach says what the tour quotes, AMD", 60,
         efi("kvm/hello64.efi", "", "--conf", "log=teach"),
         tour("svm", "both") + [r"hello64.efi ended"], quick=True),
    Case("log=teach says what the tour quotes, Intel", 60,
         efi("kvm/hello64.efi", "", "--conf", "log=teach", "--conf", "serial=0x3f8"),
         tour("vmx", "both") + [r"hello64.efi ended"], machines=VMX),
    Case("a launch that fails on one CPU leaves the firmware as it was", 120,
         efi("kvm/hello64.efi", "", "--conf", "test=launch-fail"),
         [r"keel: the launch failed", r"keel: starting /hello64.efi",
          r"keel: /hello64.efi ended with EFI error"], status=1, machines=BOTH),
    Case("no SVM: says why, and chain-loads all the same", 120, uki("--lack", "virtualisation"),
         [r"keel: cannot run here: .*SVM", r"Keel guest: Linux"]),
    Case("no VMX: says why, and chain-loads all the same", 60,
         efi("kvm/hello64.efi", "", "--lack", "virtualisation"),
         [r"keel: cannot run here: .*VMX", r"keel: starting /hello64.efi"], status=1,
         machines=VMX),
    Case("no nested paging: says why, and stops when told to", 60,
         ["--lack", "nested-paging", "--conf", "on-fail=stop", "--conf", "serial=0x3f8", "--timeout", "40"],
         [r"^keel: cannot run here: (.*(nested paging|EPT|VMX).*)\nkeel: not launched: cannot run here: \1$",
          r"on-fail=stop"], forbid=[r"not launched(.|\n)*not launched"], status=3),
    Case("too little memory for Keel: says so on the console and in the log", 60,
         ["--memory", "64", "--conf", "hw-off=slat-1g,slat-2m", "--conf", "on-fail=stop",
          "--conf", "serial=0x3f8", "--timeout", "20"],
         [r"^keel: (no \d+ KiB of memory in one piece)\nkeel: not launched: \1$", r"on-fail=stop"],
         status=3),
    Case("wrong lines of keel.conf are named and skipped", 120,
         efi("kvm/hello64.efi", "", "--conf", "colour=blue", "--conf", "log=loud"),
         [r"line \d+: unknown key: skipped", r"line \d+: log= is error", r"hello64.efi ended$"],
         machines=BOTH),
    Case("every wrong line of keel.conf is named, on the console and in Keel's log", 60,
         efi("kvm/hello64.efi", "", *["--conf", "colour=blue"] * 20, "--conf", "serial=0x3f8"),
         [r"(.*line \d+: unknown key: skipped\n){20}[\s\S]*(.*line \d+: unknown key: skipped\n){20}",
          r"hello64.efi ended$"], machines=BOTH),
    Case("keelrun: a missing kernel", 120, efi("keelrun.efi", r"-k \none"),
         [r"keelrun: .*none", r"ended with EFI error"], status=1, machines=BOTH),
    Case("keelrun: a file that is no kernel", 120,
         efi("keelrun.efi", r"-k \EFI\keel\keel.conf"),
         [r"keelrun: ", r"ended with EFI error"], status=1, machines=BOTH),
    Case("keelrun: a truncated kernel", 60,
         efi("keelrun.efi", r"-k \truncated", "--add", f"{GUEST}/truncated:/truncated"),
         [r"keelrun: \\truncated: truncated kernel: 1048576 bytes of \d+", r"guest status 3",
          r"ended with EFI error"], status=1, machines=BOTH),
    Case("keelrun: a kernel whose payload is corrupt", 60,
         efi("keelrun.efi", r"-k \corrupt", "--add", f"{GUEST}/corrupt:/corrupt"),
         [r"keelrun: \\corrupt: corrupt kernel: its payload", r"guest status 3",
          r"ended with EFI error"], status=1, machines=BOTH),
    Case("keelrun: a guest with too little memory", 60,
         efi("keelrun.efi", r"-k \EFI\keel\vmlinuz -m 8", "--add", KERNEL),
         [r"keelrun: .*: too little memory: .* more than \d+ MiB, the guest has 8", r"guest status 3",
          r"ended with EFI error"], status=1, machines=BOTH),
    # What the first one took until there was no more, the second one needs.
    Case("keelrun: a start that fails gives its memory back", 120,
         efi("system/batch.efi", "", *linux_child("", "")[:4],
             "--add", f"{ROOT}/tests/system/too-much.txt:/batch.txt"),
         [r"not enough free memory for a guest with 4000 MiB", r"keelrun.efi ended with EFI error",
          r"2 vCPUs on 2 CPUs, 1400 MiB", r"SELFTEST passed", r"keelrun: guest status 0",
          r"keelrun.efi ended$"], status=1),
    Case("keelrun: an unknown option", 120, efi("keelrun.efi", "--frobnicate"),
         [r"keelrun: .*frobnicate", r"ended with EFI error"], status=1, machines=BOTH),
    Case("one CPU", 200, linux_child("-m 256 -c 1", "keel.test=1,200,100") + ["--smp", "1"],
         [r"keel: launched: 1 CPUs", r"SELFTEST passed", r"keelrun: guest status 0"],
         machines=BOTH),
    Case("four CPUs", 300, linux_child("-m 512 -c 4", "keel.test=4,400,100") + ["--smp", "4"],
         [r"keel: launched: 4 CPUs", r"SELFTEST passed", r"keelrun: guest status 0"],
         machines=BOTH),
]

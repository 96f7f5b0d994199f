# SPDX-License-Identifier: MIT
# Keel's build. `make help` lists the targets.
CC      ?= gcc
B       := build
LAYERS  := lib arch-x86 mm core devices kvm
BACKENDS := svm vmx

CWARN   := -Wall -Wextra -Werror -Wshadow -Wvla -Wmissing-prototypes -Wno-unused-parameter
CCOMMON := -std=gnu11 -O2 -g -I. $(CWARN) -MMD -MP

.PHONY: all
all: $(B)/keel.efi $(B)/keelrun.efi $(B)/keelrun $(B)/system/bochs-acpi.efi $(B)/keel.img $(B)/linux/keel.ko

# ---- the root image: everything that runs in root mode --------------------------------------
ROOT_CFLAGS := $(CCOMMON) -ffreestanding -fno-pic -mcmodel=kernel -mno-red-zone -mgeneral-regs-only \
	-mpreferred-stack-boundary=3 -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fcf-protection=none -fno-jump-tables -mindirect-branch=thunk-extern -mindirect-branch-register \
	-fno-strict-aliasing
ROOT_DIRS := $(LAYERS) $(BACKENDS) boot/root
ROOT_C    := $(foreach d,$(ROOT_DIRS),$(wildcard $(d)/*.c))
ROOT_ASM  := $(foreach d,$(ROOT_DIRS),$(wildcard $(d)/*.asm))
ROOT_OBJS := $(ROOT_C:%.c=$(B)/root/%.o) $(ROOT_ASM:%.asm=$(B)/root/%.asm.o)

.PHONY: root
root: $(ROOT_OBJS)

$(B)/root/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ROOT_CFLAGS) -flto -ffat-lto-objects -c $< -o $@

$(B)/root/%.asm.o: %.asm
	@mkdir -p $(@D)
	nasm -f elf64 -I. -I$(@D)/ $< -o $@

# Offsets of C structs for a backend's entry.asm, from the OFFSET lines of its offsets.in.
$(B)/root/%/offsets.inc: %/offsets.in
	@mkdir -p $(@D)
	$(CC) $(ROOT_CFLAGS) -MF $(@:.inc=.d) -MT $@ -x c -S $< -o $(@:.inc=.s)
	sed -n 's/.*@@\([A-Z0-9_]*\) \$$\([0-9]*\).*/%define \1 \2/p' $(@:.inc=.s) > $@
$(B)/root/svm/entry.asm.o: $(B)/root/svm/offsets.inc arch-x86/entry.inc
$(B)/root/vmx/entry.asm.o: $(B)/root/vmx/offsets.inc arch-x86/entry.inc

# $(1): objects
define root_link
@mkdir -p $(@D)
$(CC) $(ROOT_CFLAGS) -flto=2 -nostdlib -static -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack \
	-Wl,--no-warn-rwx-segments,--build-id=none -T boot/root/root.lds -o $@ $(1)
endef

$(B)/root.elf: boot/root/root.lds $(ROOT_OBJS)
	$(call root_link,$(ROOT_OBJS))

$(B)/%.bin: $(B)/%.elf
	objcopy -O binary $< $@

VERSION := 0.1
BOOT_CFLAGS := -std=gnu11 -O2 -g -MMD -MP -I. $(CWARN) -ffreestanding -fpic -fshort-wchar -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fcf-protection=none -fvisibility=hidden \
	-fno-strict-aliasing -fno-asynchronous-unwind-tables -DGNU_EFI_USE_MS_ABI \
	-DKEEL_VERSION='"$(VERSION)"' -isystem /usr/include/efi -isystem /usr/include/efi/x86_64
BOOT_OBJS := $(patsubst %,$(B)/loader/%.o,$(basename $(wildcard boot/efi/*.c)) \
	lib/printf lib/string arch-x86/log_ring arch-x86/uart) \
	$(B)/loader/boot/efi/launch.asm.o $(B)/loader/boot/efi/image.asm.o

$(B)/loader/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(BOOT_CFLAGS) -c $< -o $@

$(B)/loader/%.asm.o: %.asm
	@mkdir -p $(@D)
	nasm -f elf64 -DROOT_BIN='"$(B)/root.bin"' $< -o $@

$(B)/loader/boot/efi/image.asm.o: $(B)/root.bin

# $(1): objects, $(2): further libraries
define efi_application
@mkdir -p $(@D)
$(LD) -nostdlib -znocombreloc -znoexecstack -shared -Bsymbolic -T /usr/lib/elf_x86_64_efi.lds \
	/usr/lib/crt0-efi-x86_64.o $(1) $(2) /usr/lib/libgnuefi.a -o $@.so
objcopy -j .text -j .sdata -j .data -j .rodata -j .dynamic -j .dynsym -j .rel -j .rela \
	-j .rel.* -j .rela.* -j .reloc --target=efi-app-x86_64 --subsystem=10 $@.so $@
endef

$(B)/keel.efi: $(BOOT_OBJS)
	$(call efi_application,$(BOOT_OBJS))

# keel.efi with parts of tests/root in place of backends' run.c. Both look at root's own state behind each
# exit (rules: on VMX). rules: the processor meets broken VMCBs and VMCSs; mce: QEMU's machine checks exit from a child.
RULES_OBJS := $(filter-out $(BACKENDS:%=$(B)/root/%/run.o),$(ROOT_OBJS)) \
	$(BACKENDS:%=$(B)/root/tests/root/%.o)
MCE_OBJS := $(filter-out $(B)/root/svm/run.o,$(ROOT_OBJS)) $(B)/root/tests/root/svm_mce.o
VARIANTS := $(B)/rules $(B)/mce

$(B)/rules/root.elf: $(RULES_OBJS)
$(B)/mce/root.elf: $(MCE_OBJS)
$(VARIANTS:%=%/root.elf): boot/root/root.lds
	$(call root_link,$(filter %.o,$^))

$(VARIANTS:%=%/image.asm.o): %/image.asm.o: boot/efi/image.asm %/root.bin
	nasm -f elf64 -DROOT_BIN='"$(@D)/root.bin"' $< -o $@

$(VARIANTS:%=%/keel.efi): %/keel.efi: $(filter-out %/image.asm.o,$(BOOT_OBJS)) %/image.asm.o
	$(call efi_application,$^)

# UEFI programs of the test machines
$(B)/system/%.efi: $(B)/loader/tests/system/%.o
	$(call efi_application,$<,/usr/lib/libefi.a)

# ---- unit tests on the host: cmocka, ASan, UBSan ---------------------------------------------
# tests/unit/LAYER_SUBJECT.c is linked with the archives of its layer, of those to its right, and
# with tests/unit/fake. Only what a test refers to is pulled in, so it may define its own doubles.
UNIT_CFLAGS := $(CCOMMON) -DUNIT_TEST -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -Wno-missing-prototypes $(COVERAGE)
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/*.c))
FAKE_OBJS  := $(patsubst %.c,$(B)/unit/%.o,$(wildcard tests/unit/fake/*.c))
unit_archives = $(foreach d,$(1),$(B)/unit/$(d).a)

arrows_lib      := lib
arrows_arch-x86 := arch-x86 lib
arrows_mm       := mm arch-x86 lib
arrows_core     := core mm arch-x86 lib
arrows_devices  := devices core mm arch-x86 lib
arrows_kvm      := kvm devices core mm arch-x86 lib
arrows_svm      := svm mm arch-x86 lib
arrows_vmx      := vmx mm arch-x86 lib
arrows_boot     := boot lib
arrows_keelrun  := keelrun lib

$(B)/unit/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(UNIT_CFLAGS) -c $< -o $@

define archive_rule
$(B)/unit/$(1).a: $$(patsubst %.c,$(B)/unit/%.o,$$(wildcard $(1)/*.c))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach d,$(LAYERS) $(BACKENDS),$(eval $(call archive_rule,$(d))))

# keel.efi's files that have no UEFI in them
$(B)/unit/boot.a: $(patsubst %,$(B)/unit/boot/efi/%.o,config acpi tables reserve)
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

define unit_rule
$(B)/unit/bin/$(1): $(B)/unit/tests/unit/$(1).o $$(FAKE_OBJS) $$(call unit_archives,$$(arrows_$(firstword $(subst _, ,$(1)))))
	@mkdir -p $$(@D)
	$$(CC) $$(UNIT_CFLAGS) -o $$@ $$< $$(FAKE_OBJS) -Wl,--start-group \
		$$(call unit_archives,$$(arrows_$(firstword $(subst _, ,$(1))))) -Wl,--end-group \
		-lcmocka $$(LIBS_$(1))
.PHONY: unit-$(1)
unit-$(1): $(B)/unit/bin/$(1)
	timeout 300 $$<
endef
$(foreach t,$(UNIT_TESTS),$(eval $(call unit_rule,$(t))))
LIBS_core_decode := -lZydis

.PHONY: unit
unit: $(UNIT_TESTS:%=unit-%)

# ---- mgmt/uefi: libkeel, keelrun.efi, KVM clients as UEFI applications -------------------------------
# Clients see libkeel's headers, the compiler's and the kernel's, nothing of the host's libc.
EFI_INCLUDE := $(B)/efi/include
KERNEL_INCLUDE := /usr/include
EFI_CFLAGS := -std=gnu11 -O2 -g -MMD -MP -fpic -fshort-wchar -mno-red-zone -fno-stack-protector \
	-fcf-protection=none -fvisibility=hidden -fno-strict-aliasing -fno-asynchronous-unwind-tables \
	-nostdinc -isystem mgmt/uefi/include -isystem $(EFI_INCLUDE) \
	-isystem $(shell $(CC) -print-file-name=include 2>/dev/null)
EFI_OWN    := $(EFI_CFLAGS) $(CWARN) -I. -DGNU_EFI_USE_MS_ABI -isystem /usr/include/efi \
	-isystem /usr/include/efi/x86_64
EFI_LDFLAGS := -nostdlib -znocombreloc -znoexecstack -shared -Bsymbolic -T /usr/lib/elf_x86_64_efi.lds
LIBKEEL_OBJS := $(patsubst %.c,$(B)/efi/%.o,$(wildcard mgmt/uefi/libkeel/*.c)) \
	$(patsubst %.asm,$(B)/efi/%.asm.o,$(wildcard mgmt/uefi/libkeel/*.asm))
KEELRUN_OBJS := $(patsubst %.c,$(B)/efi/%.o,$(wildcard mgmt/uefi/keelrun/*.c))
KVM_CLIENTS  := $(patsubst tests/kvm/%.c,%,$(wildcard tests/kvm/*.c))

$(EFI_INCLUDE)/.made:
	@mkdir -p $(@D)
	ln -sfn $(KERNEL_INCLUDE)/linux $(@D)/linux
	ln -sfn $(KERNEL_INCLUDE)/asm-generic $(@D)/asm-generic
	ln -sfn $(KERNEL_INCLUDE)/x86_64-linux-gnu/asm $(@D)/asm
	@touch $@

$(B)/efi/mgmt/uefi/libkeel/interrupt.o: EFI_EXTRA := -mgeneral-regs-only
$(B)/efi/mgmt/uefi/libkeel/string.o: EFI_EXTRA := -fno-tree-loop-distribute-patterns -fno-builtin

$(B)/efi/mgmt/%.o: mgmt/%.c $(EFI_INCLUDE)/.made
	@mkdir -p $(@D)
	$(CC) $(EFI_OWN) $(EFI_EXTRA) -c $< -o $@

$(B)/efi/mgmt/%.asm.o: mgmt/%.asm
	@mkdir -p $(@D)
	nasm -f elf64 -I. $< -o $@

$(B)/efi/tests/kvm/uefi/mce.o $(B)/efi/tests/kvm/uefi/young.o: EFI_CFLAGS += -I. # kvm/abi.h

# A client is compiled as it is on Linux. -Ibuild: lists that the build generates.
$(B)/efi/tests/kvm/%.o: tests/kvm/%.c $(EFI_INCLUDE)/.made
	@mkdir -p $(@D)
	$(CC) $(EFI_CFLAGS) -Wall -I$(B) -c $< -o $@

define efi_link
@mkdir -p $(@D)
$(LD) $(EFI_LDFLAGS) /usr/lib/crt0-efi-x86_64.o $(1) $(LIBKEEL_OBJS) /usr/lib/libgnuefi.a \
	$(shell $(CC) -print-libgcc-file-name 2>/dev/null) -o $@.so
objcopy -j .text -j .sdata -j .data -j .dynamic -j .dynsym -j .rel -j .rela -j .rel.* -j .rela.* \
	-j .reloc --target=efi-app-x86_64 --subsystem=10 $@.so $@
endef

$(B)/keelrun.efi: $(KEELRUN_OBJS) $(LIBKEEL_OBJS)
	$(call efi_link,$(KEELRUN_OBJS))

# The same program for Linux, whose own headers stand before libkeel's.
KEELRUN_LINUX := $(patsubst %.c,$(B)/user/%.o,$(wildcard mgmt/uefi/keelrun/*.c mgmt/linux/libkeel/*.c) \
	mgmt/uefi/libkeel/vector.c) $(B)/efi/mgmt/uefi/libkeel/vector.asm.o

$(B)/user/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CCOMMON) -D_GNU_SOURCE -pthread -idirafter mgmt/uefi/include -c $< -o $@

$(B)/keelrun: $(KEELRUN_LINUX)
	$(CC) -static -pthread -Wl,--wrap=ioctl $^ -o $@

$(B)/kvm/%.efi: $(B)/efi/tests/kvm/%.o $(LIBKEEL_OBJS)
	$(call efi_link,$<)

# The same clients for Linux's own KVM
$(B)/kvm/%: tests/kvm/%.c
	@mkdir -p $(@D)
	$(CC) -O2 -static -Wall -I$(B) $< -o $@

# Clients of Linux alone
LINUX_CLIENTS := $(patsubst tests/kvm/linux/%.c,%,$(wildcard tests/kvm/linux/*.c))

$(B)/kvm/linux/%: tests/kvm/linux/%.c tests/kvm/linux/flat.h tests/kvm/linux/stats.h
	@mkdir -p $(@D)
	$(CC) -O2 -static -pthread -Wall -I. $< -o $@

# One of them as a 32-bit program, too
$(B)/kvm/linux/driver32: tests/kvm/linux/driver.c tests/kvm/linux/stats.h
	scripts/setup --quiet
	@mkdir -p $(@D)
	$(CC) -m32 -O2 -static -pthread -Wall -isystem /usr/include/x86_64-linux-gnu $< -o $@

# One program of several files
$(B)/kvm/conformance: $(wildcard tests/kvm/conformance/*.c tests/kvm/conformance/*.h) $(B)/kvm/capabilities.h
	@mkdir -p $(@D)
	$(CC) -O2 -static -Wall -I$(B) $(filter %.c,$^) -o $@

# All that the headers have names for
$(B)/kvm/capabilities.h: /usr/include/linux/kvm.h
	@mkdir -p $(@D)
	echo '#include <linux/kvm.h>' | $(CC) -E -dM - | \
		sed -n 's/^#define KVM_CAP_\([A-Z0-9_]*\) [0-9].*/CAPABILITY(\1)/p' | sort >$@

# ---- mgmt/linux: keel.ko, built in a copy of its folder with the headers of the kernel that is fetched ----
KEEL_KO := $(wildcard mgmt/linux/*.c mgmt/linux/*.h) mgmt/linux/Kbuild

$(B)/linux/keel.ko: $(KEEL_KO) kvm/abi.h $(B)/cache/kernel/vmlinuz
	scripts/setup --quiet
	scripts/fetch-kernel $(B)/cache/kernel
	@mkdir -p $(@D)
	cp $(KEEL_KO) $(@D)
	$(MAKE) -s -C /usr/src/linux-headers-$$(ls $(B)/cache/kernel/root/lib/modules) M=$(abspath $(@D)) \
		modules >/dev/null
	strip --strip-debug $@

.PHONY: libkeel kvm-clients
libkeel: $(LIBKEEL_OBJS)
kvm-clients: $(KVM_CLIENTS:%=$(B)/kvm/%.efi)

# keelrun's machine model and libkeel's text handling have no UEFI in them: unit-tested on the host.
KEELRUN_PURE := $(patsubst %,mgmt/uefi/keelrun/%.c,uart rtc pci bzimage acpi options cpuid report) \
	$(patsubst %,mgmt/uefi/libkeel/%.c,format terminal arguments vector)
$(B)/unit/keelrun.a: $(patsubst %.c,$(B)/unit/%.o,$(KEELRUN_PURE))
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

# ---- Linux guests ------------------------------------------------------------------------------
KERNEL := $(B)/cache/kernel/vmlinuz

$(KERNEL): scripts/fetch-kernel
	scripts/fetch-kernel $(B)/cache/kernel

$(B)/guest/%: tests/guests/linux/%.c
	@mkdir -p $(@D)
	$(CC) -O2 -static -Wall -Wextra -Werror -pthread $< -o $@

$(B)/guest/initrd.cpio: scripts/mkinitrd tests/guests/linux/init $(B)/guest/selftest $(B)/guest/exitport \
		$(KERNEL)
	scripts/mkinitrd $@ $(B)/cache/kernel $(B)/guest

# Linux as the management guest
$(B)/guest/management.cpio: $(B)/guest/initrd.cpio
	scripts/mkinitrd $@ $(B)/cache/kernel $(B)/guest "$$(command -v lscpu)"

$(B)/guest/linux.efi: scripts/mkuki $(KERNEL) $(B)/guest/management.cpio
	scripts/mkuki $@ $(KERNEL) $(B)/guest/management.cpio \
		"console=ttyS0 tsc=reliable clocksource=tsc mitigations=off quiet keel.test=2,400,500 keel.hotplug"

# Kernels that keelrun refuses: one that ends early, one whose payload is zeros
$(B)/guest/truncated: $(KERNEL)
	@mkdir -p $(@D)
	head -c 1M $< >$@

$(B)/guest/corrupt: $(KERNEL)
	@mkdir -p $(@D)
	head -c 4K $< >$@
	truncate -r $< $@

# ---- bare-metal guests -------------------------------------------------------------------------
GUESTS := $(patsubst tests/guests/%.asm,%,$(wildcard tests/guests/*.asm))

$(B)/guests/%.bin: tests/guests/%.asm tests/guests/guest.inc
	@mkdir -p $(@D)
	nasm -f bin -Itests/guests/ $< -o $@

# tests/guests/jobs: of the VMMs in tests/kvm/uefi; shares is a kernel for keelrun
JOBS := $(patsubst tests/guests/jobs/%.asm,$(B)/guests/jobs/%.bin,$(wildcard tests/guests/jobs/*.asm))

# Guests of QEMU's machines: a firmware, a boot sector
BOOT_GUESTS := $(patsubst tests/guests/boot/%.asm,$(B)/guests/boot/%.bin,$(wildcard tests/guests/boot/*.asm))

$(B)/guests/list.h: $(GUESTS:%=$(B)/guests/%.bin)
	@printf 'GUEST(%s)\n' $(GUESTS) >$@

$(B)/kvm/guests $(B)/efi/tests/kvm/guests.o: $(B)/guests/list.h
$(B)/efi/tests/kvm/uefi/load.o $(B)/efi/tests/kvm/uefi/mce.o: $(JOBS)

# ---- the disk image and the main job -----------------------------------------------------------
# What the child Linux of `make run` is told; on a terminal it gets a shell.
GUEST_LINE := console=ttyS0 tsc=reliable clocksource=tsc mitigations=off quiet
RUN_JOB    := -k \EFI\keel\vmlinuz -i \EFI\keel\initrd -m 512 -c 2

define KEEL_CONF
# Keel's configuration: docs/configuration in README.md
next=\EFI\keel\keelrun.efi
args=$(RUN_JOB) --check-vectors --poweroff -p "$(GUEST_LINE) keel.test=2,400"
endef

$(B)/keel.conf: Makefile
	@mkdir -p $(@D)
	$(file >$@,$(KEEL_CONF))

$(B)/keel.img: scripts/mkimage $(B)/keel.efi $(B)/keelrun.efi $(B)/keel.conf $(KERNEL) $(B)/guest/initrd.cpio
	scripts/mkimage $@ $(B)/keel.efi:/EFI/BOOT/BOOTX64.EFI $(B)/keelrun.efi:/EFI/keel/keelrun.efi \
		$(B)/keel.conf:/EFI/keel/keel.conf $(KERNEL):/EFI/keel/vmlinuz \
		$(B)/guest/initrd.cpio:/EFI/keel/initrd

MACHINE ?= qemu-svm
# Bochs has no console for a keyboard, and takes minutes.
BOCHS       := $(filter bochs%,$(MACHINE))
ON_TERMINAL := $(if $(BOCHS),,$(shell test -t 0 && echo yes))

.PHONY: setup run run-linux test test-quick test-full test-matrix check loc mutate mutate-unit coverage bench help clean
setup:
	@scripts/setup --quiet

run: setup
	@$(MAKE) --no-print-directory -q all 2>/dev/null || echo "building keel.efi, keelrun.efi, keel.ko and the image"
	@$(MAKE) --no-print-directory -s all
ifeq ($(ON_TERMINAL),yes)
	scripts/run --machine $(MACHINE) --interactive --timeout 86400 \
		--add $(KERNEL):/EFI/keel/vmlinuz --add $(B)/guest/initrd.cpio:/EFI/keel/initrd \
		--next '\EFI\keel\keelrun.efi' --args '$(RUN_JOB) --poweroff -p "$(GUEST_LINE) keel.shell"'
else
	scripts/run --machine $(MACHINE) --timeout $(if $(BOCHS),1200,300)
endif

run-linux: setup
	@$(MAKE) --no-print-directory -q all 2>/dev/null || echo "building keel.efi, keel.ko and the image"
	@$(MAKE) --no-print-directory -s all
	scripts/run-linux --machine $(MACHINE)

TEST_GUESTS := $(B)/guest/linux.efi $(KVM_CLIENTS:%=$(B)/kvm/%.efi) $(KVM_CLIENTS:%=$(B)/kvm/%) \
	$(LINUX_CLIENTS:%=$(B)/kvm/linux/%) $(B)/kvm/linux/driver32 $(B)/kvm/conformance \
	$(patsubst tests/kvm/uefi/%.c,$(B)/kvm/uefi/%.efi,$(wildcard tests/kvm/uefi/*.c)) \
	$(JOBS) $(B)/system/batch.efi $(VARIANTS:%=%/keel.efi) $(BOOT_GUESTS) $(B)/guest/truncated $(B)/guest/corrupt

# All that the system cases start
.PHONY: test-programs
test-programs: all $(TEST_GUESTS)

test: setup
	@$(MAKE) --no-print-directory -s -j2 test-programs
	tests/run

test-quick: setup
	@$(MAKE) --no-print-directory -s -j2 test-programs
	tests/run --quick

# The system cases, with those that are too long for `make test`
test-full: setup
	@$(MAKE) --no-print-directory -s -j2 all $(TEST_GUESTS)
	tests/run --full

# Hours: each system case on each machine
test-matrix: setup
	@$(MAKE) --no-print-directory -s -j2 test-programs
	tests/run --matrix

check: $(B)/root.elf
	scripts/check

loc:
	@scripts/loc

mutate:
	scripts/mutate

mutate-unit:
	scripts/mutate --unit

# Branch coverage of the layers that the unit tests are for: printed, and 85 % at least of each
COVERED := mm core devices kvm
coverage: setup
	$(MAKE) --no-print-directory -s -k -j2 B=$(B)/coverage COVERAGE="--coverage" \
		$(UNIT_TESTS:%=$(B)/coverage/unit/bin/%)
	find $(B)/coverage -name '*.gcda' -delete
	for t in $(UNIT_TESTS); do KEEL_SECONDS=2 $(B)/coverage/unit/bin/$$t >/dev/null 2>&1 || echo "$$t failed"; done
	gcovr -r . --object-directory $(B)/coverage --exclude-throw-branches --branches \
		$(COVERED:%=--filter '%/') --json $(B)/coverage/branches.json --txt
	status=0; for d in $(COVERED); do \
		gcovr -r . --add-tracefile $(B)/coverage/branches.json --branches --filter "$$d/" \
			--fail-under-branch 85 --print-summary >$(B)/coverage/summary 2>&1 || status=1; \
		echo "$$d: $$(grep '^branches' $(B)/coverage/summary)"; done; exit $$status

bench: setup
	@$(MAKE) --no-print-directory -s all $(B)/kvm/kbench.efi $(B)/kvm/kbench
	scripts/bench --machine $(MACHINE)

clean:
	rm -rf build

help:
	@echo "make              keel.efi, keelrun.efi, keel.img, keel.ko, keelrun for Linux in build/"
	@echo "make run          the main job: Keel, and Debian's Linux in a child (MACHINE=qemu-svm)"
	@echo "make run-linux    Linux as the management guest, and Debian's QEMU with a guest on its /dev/kvm"
	@echo "make test         everything; test-quick: the short part; test-full: the long cases, too;"
	@echo "                  test-matrix: each case on each machine, hours"
	@echo "make check loc    the tree's own rules; lines of code"
	@echo "make bench        instructions per exit: Keel under UEFI and Linux beside Linux's KVM (5 min; MACHINE=bochs-vmx 8)"
	@echo "make coverage     branch coverage of the unit tests"
	@echo "make mutate       every mutation must be found by its test"

-include $(shell find $(B) -path $(B)/cache -prune -o -name '*.d' -print 2>/dev/null)

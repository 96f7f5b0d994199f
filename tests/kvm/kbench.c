// SPDX-License-Identifier: MIT
// minimal KVM client microbenchmark: prints TSC ticks per operation
#include <linux/kvm.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <errno.h>
static inline uint64_t rdtsc(void){uint32_t a,d;__asm__ volatile("lfence;rdtsc":"=a"(a),"=d"(d));return ((uint64_t)d<<32)|a;}
#define CK(x) ({long _r=(x); if(_r<0){printf("FAIL %s: %s\n",#x,strerror(errno));exit(1);} _r;})
static int kvm,vm,vcpu; static struct kvm_run*run; static uint8_t*mem; 
static void setup(size_t memsz){
 kvm=CK(open("/dev/kvm",O_RDWR)); vm=CK(ioctl(kvm,KVM_CREATE_VM,0));
 mem=mmap(0,memsz,PROT_READ|PROT_WRITE,MAP_SHARED|MAP_ANONYMOUS,-1,0);
 struct kvm_userspace_memory_region r={.slot=0,.guest_phys_addr=0x1000,.memory_size=memsz,.userspace_addr=(uint64_t)mem};
 CK(ioctl(vm,KVM_SET_TSS_ADDR,0xfffbd000));
 CK(ioctl(vm,KVM_SET_USER_MEMORY_REGION,&r)); vcpu=CK(ioctl(vm,KVM_CREATE_VCPU,0));
 int sz=CK(ioctl(kvm,KVM_GET_VCPU_MMAP_SIZE,0)); run=mmap(0,sz,PROT_READ|PROT_WRITE,MAP_SHARED,vcpu,0);
 struct kvm_sregs s; CK(ioctl(vcpu,KVM_GET_SREGS,&s)); 
 struct kvm_segment f={.base=0,.limit=0xffffffff,.selector=8,.type=11,.present=1,.dpl=0,.db=1,.s=1,.g=1}; s.cs=f; f.type=3;f.selector=16; s.ds=s.es=s.ss=s.fs=s.gs=f; s.cr0|=1; CK(ioctl(vcpu,KVM_SET_SREGS,&s));
}
static uint64_t runit(const uint8_t*code,size_t n,uint32_t count,uint32_t ebx,uint64_t*exits){
 memcpy(mem,code,n); struct kvm_regs g={.rip=0x1000,.rflags=2,.rsi=count,.rbx=ebx,.rsp=0x8000}; CK(ioctl(vcpu,KVM_SET_REGS,&g));
 uint64_t e=0,t=rdtsc(); for(;;){CK(ioctl(vcpu,KVM_RUN,0)); e++; if(run->exit_reason==KVM_EXIT_IO||run->exit_reason==KVM_EXIT_MMIO)continue; if(run->exit_reason==KVM_EXIT_HLT)break; printf("unexpected exit %d\n",run->exit_reason); if(run->exit_reason==17)printf("sub %d\n",run->internal.suberror);exit(1);} t=rdtsc()-t; *exits=e; return t;}
static void bench(const char*nm,const uint8_t*c,size_t n,uint32_t count,uint32_t ebx){uint64_t e,b=~0ull;for(int i=0;i<5;i++){uint64_t t=runit(c,n,count,ebx,&e);if(t<b)b=t;}printf("%-24s %10.1f ticks/op  (n=%u exits=%lu)\n",nm,(double)b/count,count,e);}
int main(int ac,char**av){
 size_t M=64<<20; setup(M);
 // all 32-bit protected code, loop on esi
 static const uint8_t nop[]={0x90,0x90,0x4e,0x75,0xfb,0xf4};
 static const uint8_t cpuid[]={0x31,0xc0,0x0f,0xa2,0x4e,0x75,0xf9,0xf4};
 static const uint8_t out[]={0xe6,0x10,0x90,0x4e,0x75,0xfa,0xf4};
 static const uint8_t in[]={0xe4,0x10,0x90,0x4e,0x75,0xfa,0xf4};
 static const uint8_t mmiow[]={0xa3,0x00,0x00,0x00,0xd0,0x4e,0x75,0xf8,0xf4};
 static const uint8_t mmior[]={0xa1,0x00,0x00,0x00,0xd0,0x4e,0x75,0xf8,0xf4};
 static const uint8_t rdmsr[]={0xb9,0x1b,0x00,0x00,0x00,0x0f,0x32,0x4e,0x75,0xf6,0xf4}; // APIC_BASE
 static const uint8_t touch[]={0x89,0x03,0x81,0xc3,0x00,0x10,0x00,0x00,0x4e,0x75,0xf5,0xf4};
 bench("nop-loop",nop,sizeof nop,20000,0);
 bench("cpuid",cpuid,sizeof cpuid,20000,0);
 bench("rdmsr-apicbase",rdmsr,sizeof rdmsr,20000,0);
 bench("pio-out-user",out,sizeof out,5000,0);
 bench("pio-in-user",in,sizeof in,5000,0);
 bench("mmio-write-user",mmiow,sizeof mmiow,5000,0);
 bench("mmio-read-user",mmior,sizeof mmior,5000,0);
 uint64_t e; uint64_t t=runit(touch,sizeof touch,8000,0x100000,&e); printf("%-24s %10.1f ticks/op\n","first-touch-4k(incl host alloc)",(double)t/8000);
 memset(mem,1,M); 
 t=runit(touch,sizeof touch,8000,0x100000,&e); printf("%-24s %10.1f ticks/op\n","retouch",(double)t/8000);
 // dirty log
 struct kvm_userspace_memory_region r={.slot=0,.flags=KVM_MEM_LOG_DIRTY_PAGES,.guest_phys_addr=0x1000,.memory_size=M,.userspace_addr=(uint64_t)mem};
 CK(ioctl(vm,KVM_SET_USER_MEMORY_REGION,&r));
 t=runit(touch,sizeof touch,8000,0x100000,&e); printf("%-24s %10.1f ticks/op\n","dirty-logged touch",(double)t/8000);
 uint64_t*bm=calloc(1,M/4096/8+8); struct kvm_dirty_log d={.slot=0,.dirty_bitmap=bm}; t=rdtsc(); CK(ioctl(vm,KVM_GET_DIRTY_LOG,&d)); t=rdtsc()-t; int n=0; for(size_t i=0;i<M/4096/64;i++)n+=__builtin_popcountll(bm[i]); printf("%-24s %10lu ticks, %d dirty pages\n","get-dirty-log(64MiB)",t,n);
 t=runit(touch,sizeof touch,8000,0x100000,&e); printf("%-24s %10.1f ticks/op\n","re-dirty touch",(double)t/8000);
 // memslot churn
 t=rdtsc(); int N=200; for(int i=0;i<N;i++){struct kvm_userspace_memory_region q={.slot=1,.guest_phys_addr=0x40000000,.memory_size=1<<20,.userspace_addr=(uint64_t)mem};CK(ioctl(vm,KVM_SET_USER_MEMORY_REGION,&q));q.memory_size=0;CK(ioctl(vm,KVM_SET_USER_MEMORY_REGION,&q));} t=rdtsc()-t; printf("%-24s %10.1f ticks/op\n","memslot add+del",(double)t/N);
 t=rdtsc(); struct kvm_regs g; for(int i=0;i<5000;i++)CK(ioctl(vcpu,KVM_GET_REGS,&g)); t=rdtsc()-t; printf("%-24s %10.1f ticks/op\n","ioctl GET_REGS",(double)t/5000);
 t=rdtsc(); int v2=CK(ioctl(kvm,KVM_CREATE_VM,0)); int c2=CK(ioctl(v2,KVM_CREATE_VCPU,0)); t=rdtsc()-t; printf("%-24s %10lu ticks\n","create vm+vcpu",t); (void)c2;
 return 0;}

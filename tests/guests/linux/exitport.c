// SPDX-License-Identifier: MIT
/* Tells the VMM the guest's result: OUT 0xf4, STATUS. Usage: exitport STATUS */
#include <stdlib.h>
#include <sys/io.h>

int main(int argc, char **argv)
{
	if (iopl(3))
		return 1;
	outb(argc > 1 ? atoi(argv[1]) : 0, 0xf4);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* Output on a 16550 that somebody else has set up; never waits for long. */
#pragma once

#include "lib/types.h"

/* Does something like a 16550 answer at this port? */
bool uart_present(u16 port);
/* "\n" becomes "\r\n". What a UART that does not drain cannot take is dropped. */
void uart_write(u16 port, const char *text, u64 length);

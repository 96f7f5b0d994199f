// SPDX-License-Identifier: MIT
/* Text on a framebuffer, in a font of 3 x 5 dots. */
#include "arch-x86/screen.h"

#define SCALE	    2
#define CELL_WIDTH  (4 * SCALE)
#define CELL_HEIGHT (7 * SCALE)
#define INK	    0x00ffffffu
#define PAPER	    0x00000080u

/* Space to underscore: five rows of three dots, top row first, in octal. */
static const u16 font[64] = {
	000000, 022202, 055000, 057575, 036736, 051245, 025257, 022000, 012221, 042224, 052725,
	002720, 000024, 000700, 000002, 011244, 075557, 026227, 071747, 071717, 055711, 074717,
	074757, 071122, 075757, 075717, 002020, 002024, 012421, 007070, 042124, 071202, 025747,
	025755, 065656, 034443, 065556, 074647, 074644, 034553, 055755, 072227, 011152, 055655,
	044447, 057755, 057775, 025552, 065644, 025573, 065655, 034216, 072222, 055557, 055522,
	055775, 055255, 055222, 071247, 064446, 044211, 062226, 025000, 000007,
};

static struct {
	u32 *pixels;
	u32 columns, rows, stride;
	u32 x, y;
} screen;

void screen_init(u32 *pixels, u32 width, u32 height, u32 stride)
{
	screen.pixels = pixels;
	screen.columns = width / CELL_WIDTH;
	screen.rows = height / CELL_HEIGHT;
	screen.stride = stride;
	screen.x = 0;
	screen.y = 0;
}

static bool dot(u16 glyph, u32 x, u32 y)
{
	return x < 3 && y < 5 && glyph >> ((4 - y) * 3 + 2 - x) & 1;
}

static void draw(u16 glyph)
{
	u32 *cell = screen.pixels + screen.y * CELL_HEIGHT * screen.stride + screen.x * CELL_WIDTH;

	for (u32 y = 0; y < CELL_HEIGHT; y++)
		for (u32 x = 0; x < CELL_WIDTH; x++)
			*(volatile u32 *)&cell[y * screen.stride + x] =
				dot(glyph, x / SCALE, y / SCALE) ? INK : PAPER;
}

/* At the bottom it ends: a panic's first lines are worth most. Video memory is slow to scroll. */
static void new_line(void)
{
	screen.x = 0;
	screen.y++;
}

void screen_write(const char *text, u64 length)
{
	if (!screen.pixels || !screen.columns)
		return;
	for (u64 i = 0; i < length && screen.y < screen.rows; i++) {
		char c = text[i];

		if (c >= 'a' && c <= 'z')
			c -= 'a' - 'A';
		if (c == '\n' || screen.x == screen.columns)
			new_line();
		if (c < ' ' || c > '_' || screen.y == screen.rows)
			continue;
		draw(font[c - ' ']);
		screen.x++;
	}
}

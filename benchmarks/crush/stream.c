/* Feeds 32-bit words from standard input to a battery of TestU01.
 *
 *   cc -O2 -o stream stream.c -ltestu01 -ltestu01probdist -ltestu01mylib -lm
 *   python words.py words | ./stream small
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <TestU01.h>

#define BLOCK 65536

static unsigned int words[BLOCK];
static size_t left = 0, have = 0;

static unsigned int next(void) {
  if (left == have) {
    have = fread(words, sizeof *words, BLOCK, stdin);
    left = 0;
    if (have == 0) {
      fprintf(stderr, "the words have ended\n");
      exit(2);
    }
  }
  return words[left++];
}

int main(int count, char **word) {
  unif01_Gen *gen = unif01_CreateExternGenBits("anajax", next);
  swrite_Basic = FALSE;
  if (count == 2 && strcmp(word[1], "small") == 0)
    bbattery_SmallCrush(gen);
  else if (count == 2 && strcmp(word[1], "crush") == 0)
    bbattery_Crush(gen);
  else {
    fprintf(stderr, "stream small|crush\n");
    return 1;
  }
  for (int i = 0; i < bbattery_NTests; i++)
    printf("p %d %s %.17g\n", i, bbattery_TestNames[i], bbattery_pVal[i]);
  unif01_DeleteExternGenBits(gen);
  return 0;
}

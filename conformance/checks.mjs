// A line for each thing that was promised.

/// Says what became of each check, and remembers whether all of them passed.
export class Checks {
  failed = 0;
  passed = 0;

  /// `check` answers what is wrong, or throws it; nothing is good.
  async that (promise, check) {
    let wrong;
    try {
      wrong = await check();
    } catch (error) {
      wrong = error.message;
    }
    wrong ? this.failed++ : this.passed++;
    console.log(wrong ? `FAIL  ${promise}\n      ${wrong}` : `PASS  ${promise}`);
  }
}

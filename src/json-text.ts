/**
 * A JSON value as its text: a result that is kept byte for byte. Parsing it and encoding it again
 * would change numbers that a double cannot hold.
 */
export class JsonText {
  /** Valid JSON. */
  readonly text: string;

  /** Throws SyntaxError where `text` is not JSON, or has half a character in it, which JSON.parse lets pass. */
  constructor(text: string) {
    JSON.parse(text);
    if (!text.isWellFormed()) throw new SyntaxError("the text is not well-formed");
    this.text = text;
  }

  /** For a JSON.stringify of something that has it: the value, as exact as a double is. */
  toJSON(): unknown {
    return JSON.parse(this.text);
  }
}

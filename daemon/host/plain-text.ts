/**
 * Characters that could change how the rest is shown, or hide, or pass for a space: controls, formats such as turns of
 * direction, separators, what has no shape by its nature such as fillers, and an empty pattern of dots.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cn}\p{Co}\p{Cs}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}/u

/** Reports whether every character of a text can be seen for what it is. */
export function isPlain(text: string): boolean {
  return !UNSEEN.test(text)
}

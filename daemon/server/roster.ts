/** A place in a roster; it changes when another one leaves. */
interface Place<T> {
  readonly item: T
  index: number
}

/**
 * Who is here, in no order, for many who come and go. A Set would say the same, but copies its table again and again, and
 * what an old table names is garbage of the slow kind: V8 frees it only when it looks at the whole heap.
 */
export class Roster<T> {
  readonly #places: Place<T>[] = []

  get size(): number {
    return this.#places.length
  }

  /** Takes somebody in. @returns what takes them out again; more calls do nothing */
  add(item: T): () => void {
    const place = { item, index: this.#places.length }
    this.#places.push(place)
    return () => this.#remove(place)
  }

  /** Those who are here at the moment; changes meanwhile do not matter. */
  [Symbol.iterator](): Iterator<T> {
    return this.#places.map(({ item }) => item).values()
  }

  /** The last one takes the place that is left. */
  #remove(place: Place<T>): void {
    if (this.#places[place.index] !== place) return
    const last = this.#places.pop()
    if (last === undefined || last === place) return
    last.index = place.index
    this.#places[place.index] = last
  }
}

import { METHODS, NOTIFICATIONS, openRpcDocument, type ResultOf } from '@loopatd/protocol'

/** The contract as clients ask for it. Made once, when the first one does: that takes tens of milliseconds. */
export class Discovery {
  #document: ResultOf<'rpc.discover'> | undefined

  get document(): ResultOf<'rpc.discover'> {
    // Made of plain JSON values by the generator.
    this.#document ??= openRpcDocument(METHODS, NOTIFICATIONS) as ResultOf<'rpc.discover'>
    return this.#document
  }
}

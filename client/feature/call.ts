import type { MethodName, ParamsOf, ResultOf } from '@loopatd/protocol'
import type { RequestOptions } from '../rpc.ts'

/** Params of a method as callers of the client write them; the client itself adds what belongs to the transport. */
export type RequestParams<M extends MethodName> = Omit<ParamsOf<M>, 'progressToken'>

/** Options of a request; progress only where the method reports it. */
export type OptionsOf<M extends MethodName> = 'progressToken' extends keyof ParamsOf<M>
  ? RequestOptions
  : Omit<RequestOptions, 'onProgress'>

/** Sends a request of the contract: what every feature of the client is made of. */
export type Call = <M extends MethodName>(
  method: M,
  params: RequestParams<M>,
  options?: RequestOptions,
) => Promise<ResultOf<M>>
